"""ASGI middleware: work for a client that has gone away is given up at once, whatever the client's headers ask for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Departures:
    """Cancels the application when its client disconnects before the answer is whole.

    Serve does the same, but not for a request with the header `x-request-disconnect-disabled`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read ahead of the application, so that a disconnect is seen while it computes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        read: asyncio.Queue[Message] = asyncio.Queue(4)  # no more: a body's limit is counted as it is read
        work = asyncio.ensure_future(self.app(scope, read.get, send))
        watch = asyncio.create_task(_read_ahead(receive, read))
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
            with suppress(asyncio.CancelledError):
                await work
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)


async def _read_ahead(receive: Receive, read: asyncio.Queue[Message]) -> None:
    """Pass on the body as it comes; ends when the client has gone."""
    while True:
        message = await receive()
        await read.put(message)
        if message["type"] == "http.disconnect":
            return
