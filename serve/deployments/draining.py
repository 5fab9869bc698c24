"""ASGI middleware: an endpoint that ends lets running answers finish, and refuses new ones."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.schemas import error_response
from serve.errors import ExpertUnavailableError

_STAY_OPEN = ("/health", "/metrics")


class Draining:
    """Counts the requests at work, and once it drains, answers new ones with 503.

    Attributes:
        refusing: whether it drains.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.refusing = app, False
        self._running = 0
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.refusing and not scope["path"].endswith(_STAY_OPEN):
            ending = ExpertUnavailableError("the endpoint is being shut down", fix="try again in a moment")
            told = JSONResponse(error_response(ending).model_dump(), ending.status, {"retry-after": "1"})
            await told(scope, receive, send)
            return
        self._running += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def drain(self, seconds: float) -> int:
        """Refuse new requests and wait for those at work; how many are left after `seconds`."""
        self.refusing = True
        try:
            async with asyncio.timeout(seconds):
                while self._running:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass
        return self._running
