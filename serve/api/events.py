"""Answers on their way to a client: whole or as server-sent events, given up when the client goes or time is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
PING_S = 15.0
"""Silence after which a stream says that it is alive: proxies cut silent connections."""
to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""JSON has no NaN: a body that would hold one is a fault of ours, and told as one."""


class GoneError(Exception):
    """The client has closed the connection: nobody is told anything."""


_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""Python's clients split lines at these too (httpx 0.28, `aiter_lines`), though the format ends lines otherwise."""


def event(data: str, name: str = "") -> str:
    """A server-sent event of JSON."""
    data = data.translate(_LINE_ENDS)
    return f"event: {name}\ndata: {data}\n\n" if name else f"data: {data}\n\n"


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something for a client as long as it waits. No header lifts this, as one does with Serve's own watch.

    Raises:
        GoneError: the client has gone.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise GoneError
        return task.result()
    finally:
        await _ended(task, gone)


async def streamed(
    request: Request,
    events: AsyncGenerator[str, None],
    headers: Mapping[str, str],
    seconds: float,
    failed: Callable[[Exception], str],
    late: Exception,
) -> Response:
    """A response that begins when its first event is there, so that what is refused before has its status.

    Args:
        request: of the client.
        events: what to send, the end included.
        headers: of the response.
        seconds: for the whole answer.
        failed: the event that tells an error, after which nothing comes: no stream only looks complete.
        late: the error that is told when time is over.

    Raises:
        GoneError: the client has gone. Exception: what was raised before the first event.
    """
    until = asyncio.get_running_loop().time() + seconds
    first, gone = asyncio.ensure_future(anext(events, "")), asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({first, gone}, timeout=min(PING_S, seconds), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            raise GoneError
        if first.done():
            first.result()
        elif seconds <= PING_S:
            raise late
    except BaseException:
        await _ended(first, gone)
        await events.aclose()
        raise
    return _EventStream(first, events, gone, headers, until, failed, late)


class _EventStream(Response):
    media_type = "text/event-stream"

    def __init__(
        self,
        first: asyncio.Future[str],
        events: AsyncGenerator[str, None],
        gone: asyncio.Future[None],
        headers: Mapping[str, str],
        until: float,
        failed: Callable[[Exception], str],
        late: Exception,
    ) -> None:
        self.status_code, self.background = 200, None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no", **headers})
        del self.headers["content-length"]
        self._first, self._events, self._gone = first, events, gone
        self._until, self._failed, self._late = until, failed, late
        self._sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send events, and comments where there are none for long."""
        loop = asyncio.get_running_loop()
        self._sent = loop.time()
        main = asyncio.ensure_future(self._all(send, loop))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while not main.done() and not self._gone.done() and (left := self._until - loop.time()) > 0:
                quiet = self._sent + PING_S - loop.time()
                if quiet <= 0:
                    await self._send(send, loop, ": ping\n\n")
                    quiet = PING_S
                await asyncio.wait({main, self._gone}, timeout=min(quiet, left), return_when=asyncio.FIRST_COMPLETED)
            if not main.done() and not self._gone.done():
                await _ended(main)
                await self._send(send, loop, self._failed(self._late))
            if not self._gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await _ended(main, self._first, self._gone)
            await self._events.aclose()

    async def _all(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await self._send(send, loop, await self._first)
            async for text in self._events:
                await self._send(send, loop, text)
        except Exception as error:
            await self._send(send, loop, self._failed(error))

    async def _send(self, send: Send, loop: asyncio.AbstractEventLoop, text: str) -> None:
        self._sent = loop.time()
        await send({"type": "http.response.body", "body": text.encode("utf-8", "replace"), "more_body": True})


async def _gone(receive: Receive) -> None:
    """Until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
