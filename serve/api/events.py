"""Server-sent events: how a stream is told, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from serve.api.refusals import told


async def first_of(chunks: AsyncIterator[BaseModel]) -> AsyncIterator[BaseModel]:
    """The same chunks, after the first one is there: what is refused before it can be answered with its status."""
    try:
        first = await anext(chunks)
    except StopAsyncIteration:
        return _none()
    return _after(first, chunks)


def events(chunks: AsyncIterator[BaseModel]) -> StreamingResponse:
    """A stream that ends with `[DONE]`, or with an error event and without it: never one that only looks complete."""
    return StreamingResponse(_lines(chunks), media_type="text/event-stream", headers={"cache-control": "no-cache"})


async def _lines(chunks: AsyncIterator[BaseModel]) -> AsyncIterator[str]:
    try:
        async for chunk in chunks:
            yield f"data: {chunk.model_dump_json()}\n\n"
    except Exception as error:
        yield f"event: error\ndata: {told(error).model_dump_json()}\n\n"
    else:
        yield "data: [DONE]\n\n"


async def _after(first: BaseModel, chunks: AsyncIterator[BaseModel]) -> AsyncIterator[BaseModel]:
    yield first
    async for chunk in chunks:
        yield chunk


async def _none() -> AsyncIterator[BaseModel]:
    return
    yield
