"""The lines from an ingress to one expert: which of them takes a request, and when Serve is asked for another."""

from __future__ import annotations

import asyncio
import time
from collections import deque
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
OPENING = 8
"""Lines that Serve is asked for at once, while more requests wait here: each call that waits costs it time."""
ROOM = 0.25
"""Share of the places for requests that wait which has to be free before an expert that was full is no longer so."""


class Pool:
    """The lines to one expert. A line has one request at a time: what Serve counts, limits and scales by are requests.

    Args:
        exchange: of the ingress.
        attend: asks Serve for a replica that attends to a line, until the line is over.
        most: requests that wait for a replica; more are refused.
    """

    def __init__(self, exchange: Exchange, attend: Callable[[Where], Coroutine[Any, Any, None]], most: int) -> None:
        self._exchange, self._attend, self._most = exchange, attend, most
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._queue = deque[Ticket]()
        self._was_full, self._refused_until = False, 0.0

    @property
    def full(self) -> bool:
        """Whether too many requests wait; then, until a share of them does so no more.

        Who may refuse all requests unread would otherwise read several for each place that comes free, to find whose it
        is, and the time for that is the answers'.
        """
        free = self._most - len(self._queue)
        self._was_full = free <= 0 or (self._was_full and free < ROOM * self._most)
        return self._was_full or self._refused

    @property
    def _unopened(self) -> list[Line]:
        """Lines for which Serve looks for a replica."""
        return [line for line in self._lines if line.waits]

    @property
    def _refused(self) -> bool:
        return time.monotonic() < self._refused_until

    def ask(self, requests: Sequence[GenerationRequest], seconds: float, waiting: Waiting) -> Ticket:
        """Have requests answered by a line that has none, or else by the first that has none any more.

        Raises:
            OverloadedError: too many wait, or Serve has just refused another line.
        """
        ticket = Ticket(requests, seconds, waiting)
        free = next((line for line in self._lines if line.free), None)
        if free is not None:
            free.ask(ticket)
        elif len(self._queue) >= self._most or self._refused:
            raise OverloadedError("too many requests are waiting", fix="try again in a moment")
        else:
            self._queue.append(ticket)
            self._look()
        return ticket

    def forget(self, ticket: Ticket) -> None:
        """Nobody waits for these any more; who has waited longest takes their place."""
        if ticket.line is not None:
            ticket.line.forget(ticket)
            self._freed(ticket.line)
        elif ticket in self._queue:  # else it was lost
            self._queue.remove(ticket)
            self._look()

    def _freed(self, line: Line) -> None:
        if self._queue and line.free:
            line.ask(self._queue.popleft())
        self._look()

    def _look(self) -> None:
        """Have Serve look for as many replicas as are needed now: for no more than wait, and for a few at once."""
        unopened, wanted = self._unopened, min(len(self._queue), OPENING, self._most)
        for line in unopened[wanted:]:
            line.end()
            self._lines[line].cancel()
        for _ in range(wanted - len(unopened)):
            where, line = self._exchange.line(self._freed)
            # In a context of its own: Serve would end it with the request that it is opened for.
            self._lines[line] = asyncio.create_task(self._attend(where), context=Context())
            self._lines[line].add_done_callback(partial(self._ended, where, line))

    def _ended(self, where: Where, line: Line, task: asyncio.Task[None]) -> None:
        """The call of Serve is over."""
        del self._lines[line]
        found = None if task.cancelled() else task.exception()
        if isinstance(found, OverloadedError):
            self._refused_until = time.monotonic() + FULL_SECONDS
        lost = ExpertUnavailableError("the expert's replica has ended", fix="try again in a moment")
        reason = found if isinstance(found, Exception) else lost
        if self._queue and line.waits:
            self._queue.popleft().waiting.lose(reason)
        self._exchange.end(where, reason)
        self._look()
