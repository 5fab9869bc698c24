"""A replica's end of a line: requests come, answers go. No Ray here; see :mod:`serve.deployments.lines`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from serve.api.backend import Grown
from serve.deployments.lines import Frames, Where
from serve.errors import ExpertUnavailableError
from serve.messages import Completion, GenerationRequest

Generate = Callable[[Sequence[GenerationRequest], float], Awaitable[list[Completion]]]
Stream = Callable[[Sequence[GenerationRequest], float], AsyncIterator[Grown]]
"""Whole answers, and answers as they grow, within seconds."""


async def attend(where: Where, generate: Generate, stream: Stream) -> None:
    """Answer what comes over a line until its ingress ends it, or is lost: then, nobody waits for answers any more.

    Raises:
        ExpertUnavailableError: the ingress can't be reached.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, line = await loop.create_connection(lambda: _Attending(generate, stream), where.host, where.port)
    except OSError as error:
        what = f"a replica can't reach the ingress that asked it, at {where.host}:{where.port}: {error}"
        raise ExpertUnavailableError(what, fix="let the nodes reach each other") from None
    transport.write(where.secret + where.number.to_bytes(8, "big"))
    try:
        await line.over
    finally:
        for task in line.tasks.values():
            task.cancel()
        transport.close()


class _Attending(Frames):
    def __init__(self, generate: Generate, stream: Stream) -> None:
        super().__init__()
        self._generate, self._stream = generate, stream
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        if not self.over.done():
            self.over.set_result(None)

    def received(self, kind: str, number: int = 0, *rest: Any) -> None:
        if kind == "ask":
            self.tasks[number] = asyncio.create_task(self._answer(number, *rest))
        elif kind == "give_up":
            if (task := self.tasks.get(number)) is not None:
                task.cancel()
        elif not self.over.done():
            self.over.set_result(None)

    async def _answer(self, number: int, requests: Sequence[GenerationRequest], seconds: float, whole: bool) -> None:
        try:
            if whole:
                self.send("whole", number, await self._generate(requests, seconds))
                return
            async with aclosing(self._stream(requests, seconds)) as parts:  # type: ignore[type-var]
                async for grown in parts:
                    self.send("grown", number, grown)
        except Exception as error:
            self.send("failed", number, error)
        finally:
            del self.tasks[number]
