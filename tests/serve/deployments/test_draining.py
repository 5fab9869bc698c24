"""Endpoints that end, as ASGI has them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from serve.deployments.draining import Draining

SCOPE: dict[str, Any] = {"type": "http", "path": "/v1/completions"}


class Client:
    """A client, and what it is told."""

    def __init__(self) -> None:
        self.told = list[Message]()

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        self.told.append(message)


class Slow:
    """An application that reads, and answers when it is let to."""

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await self.let.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(bounded())


def test_an_endpoint_that_ends_finishes_what_runs_and_refuses_what_comes() -> None:
    async def test() -> None:
        first, late, probe, app = Client(), Client(), Client(), Slow()
        draining = Draining(app)
        assert await Draining(app).drain(5) == 0
        running = asyncio.create_task(draining(SCOPE, first.receive, first.send))
        await asyncio.sleep(0.02)
        assert await draining.drain(0.02) == 1
        ending = asyncio.create_task(draining.drain(5))
        await asyncio.sleep(0.02)
        await draining(SCOPE, late.receive, late.send)
        assert late.told[0]["status"] == 503
        assert b"shut down" in late.told[1]["body"]
        assert (b"retry-after", b"1") in late.told[0]["headers"]
        asking = asyncio.create_task(draining({**SCOPE, "path": "/health"}, probe.receive, probe.send))
        app.let.set()
        assert await ending == 0
        await asyncio.gather(running, asking)
        assert first.told[0]["status"] == probe.told[0]["status"] == 200

    run(test)
