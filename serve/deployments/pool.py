"""The lines from an ingress to one expert: which of them takes a request, and when Serve is asked for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from typing import Any

from serve.deployments.lines import Exchange, Line, Ticket, Where
from serve.deployments.waiting import Waiting
from serve.errors import ExpertUnavailableError, OverloadedError
from serve.messages import GenerationRequest

FULL_SECONDS = 0.1
"""How long Serve is not asked for a line after it has refused one: being refused by it costs more than by us."""
ROOM = 0.25
"""Share of the places for requests that wait which has to be free before an expert that was full is no longer so."""


class Pool:
    """The lines to one expert.

    Args:
        exchange: of the ingress.
        attend: asks Serve for a replica that attends to a line, until the line is over.
        most: requests that wait for a replica; more are refused.
        together: requests that one line takes at once. One: what Serve counts, limits and scales by are requests.
    """

    def __init__(
        self, exchange: Exchange, attend: Callable[[Where], Coroutine[Any, Any, None]], most: int, together: int = 1
    ) -> None:
        self._exchange, self._attend, self._most, self._together = exchange, attend, most, together
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._was_full, self._refused_until = False, 0.0

    @property
    def full(self) -> bool:
        """Whether too many requests wait; then, until a share of them does so no more.

        Who may refuse all requests unread would otherwise read several for each place that comes free, to find whose it
        is, and the time for that is the answers'.
        """
        free = self._most - self._waiting
        self._was_full = free <= 0 or (self._was_full and free < ROOM * self._most)
        return self._was_full or self._refused

    @property
    def _waiting(self) -> int:
        return sum(1 for line in self._lines if line.load and not line.open)

    @property
    def _refused(self) -> bool:
        return time.monotonic() < self._refused_until

    def ask(self, requests: Sequence[GenerationRequest], seconds: float, waiting: Waiting) -> Ticket:
        """Have requests answered by the line with the least to do; by a new one where all have enough.

        Raises:
            OverloadedError: too many wait, or Serve has just refused another line.
        """
        ticket = Ticket(requests, seconds, waiting)
        fitting = [line for line in self._lines if line.usable and line.load < self._together]
        (min(fitting, key=lambda line: line.load) if fitting else self._another()).ask(ticket)
        return ticket

    def forget(self, ticket: Ticket) -> None:
        """Nobody waits for these any more; who has waited longest for a replica takes their place."""
        line = ticket.line
        line.forget(ticket)
        if line.open and line.usable and line.load < self._together:
            other = next((other for other in self._lines if other.load and not other.open), None)
            if other is not None:
                waits = other.first
                other.forget(waits)
                line.ask(waits)
                self._end_if_unneeded(other)
        self._end_if_unneeded(line)

    def _end_if_unneeded(self, line: Line) -> None:
        """Nobody waits for this replica any more: Serve need not look for one, or count this as waiting."""
        if not (line.open or line.load) and line in self._lines:
            line.end()
            self._lines[line].cancel()

    def _another(self) -> Line:
        if self._waiting >= self._most or self._refused:
            raise OverloadedError("too many requests are waiting", fix="try again in a moment")
        where, line = self._exchange.line()
        # In a context of its own: Serve would end it with the request that it is opened for.
        self._lines[line] = asyncio.create_task(self._attend(where), context=Context())
        self._lines[line].add_done_callback(partial(self._ended, where, line))
        return line

    def _ended(self, where: Where, line: Line, task: asyncio.Task[None]) -> None:
        """The call of Serve is over."""
        del self._lines[line]
        found = None if task.cancelled() else task.exception()
        if isinstance(found, OverloadedError):
            self._refused_until = time.monotonic() + FULL_SECONDS
        lost = ExpertUnavailableError("the expert's replica has ended", fix="try again in a moment")
        self._exchange.end(where, found if isinstance(found, Exception) else lost)
