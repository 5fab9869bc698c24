"""Every answer that is no success, in OpenAI's shape."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serve.api.events import GoneError, event, to_json
from serve.api.record import Record
from serve.api.schemas import ErrorInfo, ErrorResponse, error_response
from serve.errors import RequestError

log = logging.getLogger("mome.api")
CLOSED = 499
"""Status, in metrics and in the log, of requests whose client has gone."""

_OF_BODIES = {
    "json_invalid": "the body is not valid JSON",
    "missing": "the body is empty",
    "model_attributes_type": "the body is no JSON object, or has no header content-type: application/json",
}
"""Of the root alone: a part of a body may be of the same type of error."""
_NO_OBJECT = "model_attributes_type"
_UNREADABLE = "the body can't be read: is it JSON in UTF-8, of sensible depth, with numbers of sensible length?"
"""FastAPI has one sentence for all of these."""
_NAME = re.compile(r"(?!(str|int|float|bool)$)[A-Za-z_]\w*")
"""Of a part of a body; between them are types that a value may have."""


def add_handlers(app: FastAPI) -> None:
    """Have every error of an application answered so."""
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(GoneError, _closed)


def told(error: Exception, record: Record) -> ErrorResponse:
    """What a client is told of an error; of a fault of ours, that there was one."""
    if isinstance(error, RequestError):
        record.code = error.code or error.kind
        return error_response(error)
    record.code = "server_error"
    log.error("request %s failed", record.id, exc_info=error)
    return ErrorResponse(error=ErrorInfo(message="the server failed to answer; its log says why", type="server_error"))


def refusal(error: Exception, record: Record) -> JSONResponse:
    """The response to a request that failed."""
    if not isinstance(error, RequestError):
        return _json(500, told(error, record))
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return _json(error.status, told(error, record), headers)


def failed_event(record: Record) -> Callable[[Exception], str]:
    """What a stream ends with that fails: an error event."""
    return lambda error: event(to_json(told(error, record).model_dump()), "error")


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return refusal(error, Record.of(request))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """A body that is no JSON, or not of the schema: 400, as OpenAI answers, not FastAPI's 422."""
    assert isinstance(error, RequestValidationError)
    first = _closest(error.errors())
    Record.of(request).code = RequestError.kind
    of_root = not any(isinstance(part, str) for part in first["loc"][1:])  # of bad JSON, its place follows
    if of_root and (said := _OF_BODIES.get(first["type"])) is not None:
        return _json(400, ErrorResponse(error=ErrorInfo(message=said, type=RequestError.kind)))
    path = [str(part) for part in first["loc"] if part != "body"]
    param = _printable(path[0]) if path else None
    said = "must be an object" if first["type"] == _NO_OBJECT else first["msg"]
    message = f"{_place(first['loc'])}: {said}" if param else first["msg"].removeprefix("Value error, ")
    code = "unknown_parameter" if first["type"] == "extra_forbidden" else None
    info = ErrorInfo(message=message, type=RequestError.kind, param=param, code=code)
    return _json(400, ErrorResponse(error=info))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    Record.of(request).code = f"http_{error.status_code}"
    said = _UNREADABLE if error.detail == "There was an error parsing the body" else str(error.detail)
    info = ErrorInfo(message=said, type=RequestError.kind)
    return _json(error.status_code, ErrorResponse(error=info), dict(error.headers or {}))


async def _closed(_: Request, __: Exception) -> Response:
    return Response(status_code=CLOSED)


def _json(status: int, body: ErrorResponse, headers: dict[str, Any] | None = None) -> JSONResponse:
    return JSONResponse(body.model_dump(), status, headers)


def _closest(errors: Sequence[Any]) -> Any:
    """Of a value that may be of several types, what is wrong with it as the type that it comes closest to."""
    ours = [error for error in errors if error["loc"][:2] == errors[0]["loc"][:2]]
    return min(ours, key=lambda error: (error["type"].endswith("_type"), -len(error["loc"])))


def _place(path: Sequence[str | int]) -> str:
    """Names and indices of a value; what a type is called in between is left out."""
    first, *rest = [part for part in path if part != "body"]
    kept = (part for part in rest if isinstance(part, int) or _NAME.fullmatch(part))
    return _printable(str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in kept))


def _printable(text: str) -> str:
    return text[:64].encode("utf-8", "replace").decode()
