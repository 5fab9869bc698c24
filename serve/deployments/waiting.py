"""How an ingress waits for answers that a replica sends: for whole ones, or as they grow. No Ray here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from serve.api.backend import Grown
from serve.merging import joined
from serve.messages import Completion


class Waiting(Protocol):
    """Whoever waits for an answer."""

    @property
    def done(self) -> bool:
        """Whether the replica has told everything."""

    def take(self, value: Any) -> None:
        """Some of it, or all, has come."""

    def lose(self, reason: Exception) -> None:
        """There will be no more than what has come."""


class Whole:
    """Waits for whole answers: await `answers`."""

    def __init__(self) -> None:
        self.answers: asyncio.Future[list[Completion]] = asyncio.get_running_loop().create_future()

    @property
    def done(self) -> bool:
        """See :class:`Waiting`."""
        return self.answers.done() and not self.answers.cancelled()

    def take(self, value: list[Completion]) -> None:
        """See :class:`Waiting`."""
        if not self.answers.done():
            self.answers.set_result(list(value))

    def lose(self, reason: Exception) -> None:
        """See :class:`Waiting`."""
        if not self.answers.done():
            self.answers.set_exception(reason)


class Mailbox:
    """Waits for answers that grow: iterate for what they have grown by since the last time.

    Args:
        answers: how many there are.
    """

    def __init__(self, answers: int) -> None:
        self._left, self._parts, self._came = answers, list[Grown](), asyncio.Event()
        self._end: Exception | None = None

    @property
    def done(self) -> bool:
        """See :class:`Waiting`."""
        return not self._left or self._end is not None

    def take(self, value: Grown) -> None:
        """See :class:`Waiting`."""
        self._left -= sum(delta.finish_reason is not None for _, delta in value)
        self._parts.append(value)
        self._came.set()

    def lose(self, reason: Exception) -> None:
        """See :class:`Waiting`."""
        self._end = self._end or reason
        self._came.set()

    async def __aiter__(self) -> AsyncIterator[Grown]:
        while self._left or self._parts:
            if self._parts:
                parts, self._parts = self._parts, []
                yield parts[0] if len(parts) == 1 else joined([item for part in parts for item in part])
            elif self._end is not None:
                raise self._end
            else:
                self._came.clear()
                await self._came.wait()
