"""Every answer that is no success, in OpenAI's shape."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serve.api.schemas import ErrorInfo, ErrorResponse, error_response
from serve.errors import RequestError

log = logging.getLogger("ray.serve")


def add_handlers(app: FastAPI) -> None:
    """Have every error of an application answered so."""
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)


def told(error: Exception) -> ErrorResponse:
    """What a client is told of an error; of a fault of ours, that there was one."""
    if isinstance(error, RequestError):
        return error_response(error)
    log.error("a request failed", exc_info=error)
    return ErrorResponse(error=ErrorInfo(message="the server failed to answer; its log says why", type="server_error"))


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return _json(error.status, told(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """A body that is no JSON, or not of the schema: 400, as OpenAI answers, not FastAPI's 422."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _json(400, ErrorResponse(error=ErrorInfo(message="the body is not valid JSON", type=RequestError.kind)))
    path = [str(part) for part in first["loc"] if part != "body"]
    param = _printable(path[0]) if path else None
    message = f"{param}: {first['msg']}" if param else first["msg"].removeprefix("Value error, ")
    code = "unknown_parameter" if first["type"] == "extra_forbidden" else None
    info = ErrorInfo(message=message, type=RequestError.kind, param=param, code=code)
    return _json(400, ErrorResponse(error=info))


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    info = ErrorInfo(message=str(error.detail), type=RequestError.kind)
    return _json(error.status_code, ErrorResponse(error=info))


async def _failed(_: Request, error: Exception) -> JSONResponse:
    return _json(500, told(error))


def _json(status: int, body: ErrorResponse) -> JSONResponse:
    return JSONResponse(body.model_dump(), status)


def _printable(text: str) -> str:
    return text[:64].encode("utf-8", "replace").decode()
