"""`POST /v1/completions`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from serve.api.answering import Work, answers, growing
from serve.api.backend import Backend
from serve.api.events import events, first_of
from serve.api.schemas import Choice, CompletionRequest, CompletionResponse, RouteInfo, Usage
from serve.messages import Completion, Delta


def completions(backend: Backend) -> APIRouter:
    """The route, over a backend."""
    router = APIRouter()

    @router.post("/v1/completions", response_model=CompletionResponse)
    async def create(body: CompletionRequest) -> CompletionResponse | StreamingResponse:
        work = await Work.of(backend, body.model, body.prompts, body.generation_requests())
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            return events(await first_of(_chunks(backend, work, usage)))
        return _response(work, await answers(backend, work))

    return router


def _response(work: Work, completions: Sequence[Completion]) -> CompletionResponse:
    choices = [
        Choice(index=index, text=done.text, finish_reason=done.finish_reason, route=RouteInfo.of(work.route(index)))
        for index, done in enumerate(completions)
    ]
    read = {work.prompt_of[index]: done.prompt_tokens for index, done in enumerate(completions)}
    return CompletionResponse(
        id=_id(),
        created=int(time.time()),
        model=work.model,
        choices=choices,
        usage=Usage.of(sum(read.values()), sum(done.completion_tokens for done in completions)),
        route=RouteInfo.of(work.routes[0]),
    )


async def _chunks(backend: Backend, work: Work, with_usage: bool) -> AsyncIterator[CompletionResponse]:
    name, created, route = _id(), int(time.time()), RouteInfo.of(work.routes[0])

    def chunk(choices: list[Choice], usage: Usage | None = None) -> CompletionResponse:
        return CompletionResponse(id=name, created=created, model=work.model, choices=choices, usage=usage, route=route)

    read, written = dict[int, int](), 0
    async for grown in growing(backend, work):
        for index, delta in grown:
            written += len(delta.tokens)
            if delta.finish_reason:
                read[work.prompt_of[index]] = delta.prompt_tokens
        yield chunk([_grown(work, index, delta) for index, delta in grown])
    if with_usage:
        yield chunk([], Usage.of(sum(read.values()), written))


def _grown(work: Work, index: int, delta: Delta) -> Choice:
    route = RouteInfo.of(work.route(index))
    return Choice(index=index, text=delta.text, finish_reason=delta.finish_reason, route=route)


def _id() -> str:
    return f"cmpl-{uuid.uuid4().hex}"
