"""Who may train now: a queue before a number of slots. Ray Train's own waiting ends in time-outs, this does not."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.errors import StoppedEarlyError


@dataclass(eq=False)
class _Ticket:
    """A place in the queue; `slots` is what its holder takes, `rank` how early it goes."""

    name: str
    slots: int
    rank: float
    dismissed: bool = False


class Admission:
    """At most `slots` at the same time: the highest rank first, and of equal ranks who came first.

    Who is to be alone takes every slot: it waits until the others have left, and whoever is behind it waits for it.
    """

    def __init__(self, slots: int, say: Callable[[str], None]) -> None:
        self._slots, self._say = slots, say
        self._queue: list[_Ticket] = []
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def admit(self, name: str, *, alone: bool = False, rank: float = 0.0) -> Iterator[None]:
        """Wait for a slot, or for all of them, and hold it for the time of the block.

        Args:
            name: of the training.
            alone: it takes every slot.
            rank: the work of the longest chain of steps that begins with it, so that the chain is not what ends last.

        Raises:
            StoppedEarlyError: dismissed while waiting.
        """
        ticket = _Ticket(name, self._slots if alone else 1, rank)
        with self._changed:
            bisect.insort(self._queue, ticket, key=lambda each: -each.rank)
            if not self._may_enter(ticket):
                why = ", and it runs alone" if alone and self._slots > 1 else ""
                self._say(f"{name}: queued, {self._taken} of {self._slots} slots are in use{why}")
            self._wait(ticket)
            slot = "alone" if alone and self._slots > 1 else f"in slot {self._taken} of {self._slots}"
            self._say(f"{name}: running {slot}")
        try:
            yield
        finally:
            with self._changed:
                self._taken -= ticket.slots
                self._changed.notify_all()

    def dismiss(self, name: str) -> None:
        """Send away whoever waits by this name; who has a slot keeps it."""
        with self._changed:
            for ticket in self._queue:
                ticket.dismissed |= ticket.name == name
            self._changed.notify_all()

    def _wait(self, ticket: _Ticket) -> None:
        try:
            self._changed.wait_for(lambda: ticket.dismissed or self._may_enter(ticket))
            if ticket.dismissed:
                raise StoppedEarlyError("not needed any more", ticket.name)
            self._taken += ticket.slots
        finally:
            self._queue.remove(ticket)
            self._changed.notify_all()

    def _may_enter(self, ticket: _Ticket) -> bool:
        return self._queue[0] is ticket and self._taken + ticket.slots <= self._slots
