"""The HTTP interface over any backend: Ray Serve's handles in production, a fake in tests. No Ray here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import DeadlineError, RequestError
from serve.messages import AUTO, Completion, GenerationRequest, Route
from serve.schemas import (
    CompletionRequest,
    CompletionResponse,
    ErrorInfo,
    ErrorResponse,
    Model,
    ModelList,
    completion_response,
    error_response,
)

MAX_BODY_BYTES = 8 * 2**20
log = logging.getLogger("ray.serve")


class Backend(Protocol):
    """What answers requests.

    Attributes:
        experts: names of the experts.
        started: Unix time at which serving began.
        deadline_s: longest time for an answer, in seconds.
    """

    experts: Sequence[str]
    started: int
    deadline_s: float

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        """The expert of each prompt: `model` itself, or the router's choice where it is "auto".

        Raises:
            RequestError: no such model.
        """

    async def generate(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """Continue prompts with one expert within `seconds`.

        Raises:
            RequestError: the prompts can't be continued, or not now.
        """


def create_app(backend: Backend) -> FastAPI:
    """The application: completions, models, health; every error in OpenAI's shape."""
    app = FastAPI(title="MoME", docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit, limit=MAX_BODY_BYTES)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest) -> CompletionResponse:
        # Serve's own time limit can be switched off by a request's header; this one can't.
        try:
            return await asyncio.wait_for(complete(backend, body), backend.deadline_s)
        except TimeoutError:
            raise DeadlineError(f"no answer within {backend.deadline_s:g} s", fix="ask for fewer tokens") from None

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[Model(id=name, created=backend.started) for name in (AUTO, *backend.experts)])

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "experts": list(backend.experts)}

    return app


async def complete(backend: Backend, body: CompletionRequest) -> CompletionResponse:
    """Route each prompt by itself, let every expert continue its prompts as one batch, put the answers back in order.

    Streaming will have its place here: the same steps, with pieces of text handed on as they come.

    Raises:
        RequestError: see :class:`Backend`.
    """
    routes = await backend.route(body.model, body.prompts)
    requests = body.generation_requests()
    experts = sorted({route.expert for route in routes})
    members = {expert: [i for i, route in enumerate(routes) if route.expert == expert] for expert in experts}
    batches = [[request for i in members[expert] for request in requests[i]] for expert in experts]
    answers = await asyncio.gather(
        *(backend.generate(expert, batch, backend.deadline_s) for expert, batch in zip(experts, batches, strict=True))
    )
    completions: list[list[Completion]] = [[] for _ in routes]
    for expert, answer in zip(experts, answers, strict=True):
        remaining = iter(answer)
        for i in members[expert]:
            completions[i] = [next(remaining) for _ in requests[i]]
    return completion_response(routes, completions)


class BodyLimit:
    """ASGI middleware: refuses bodies over the limit as they arrive, whatever their headers say; Serve has no limit."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes that the application receives."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise HTTPException(413, f"the request is larger than {self.limit} bytes")
            return message

        await self.app(scope, counted, send)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return _json(error.status, error_response(error))


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
    log.error("a request failed", exc_info=error)
    info = ErrorInfo(message="the server failed to answer; its log says why", type="server_error")
    return _json(500, ErrorResponse(error=info))


def _json(status: int, body: ErrorResponse) -> JSONResponse:
    return JSONResponse(body.model_dump(), status)


def _printable(text: str) -> str:
    return text[:64].encode("utf-8", "replace").decode()
