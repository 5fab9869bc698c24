"""Who may train now: a queue before a number of slots. Ray Train's own waiting ends in time-outs, this does not."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Admission:
    """At most `slots` at the same time, first come, first served."""

    def __init__(self, slots: int, say: Callable[[str], None]) -> None:
        self._slots, self._say = slots, say
        self._queue: deque[object] = deque()
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def admit(self, name: str) -> Iterator[None]:
        """Wait for a slot and hold it for the time of the block."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            if not self._is_next(ticket):
                self._say(f"{name}: queued, {self._taken} of {self._slots} slots are in use")
            try:
                self._changed.wait_for(lambda: self._is_next(ticket))
                self._taken += 1
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
            self._say(f"{name}: running in slot {self._taken} of {self._slots}")
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify_all()

    def _is_next(self, ticket: object) -> bool:
        return self._taken < self._slots and self._queue[0] is ticket
