"""An answer on its way from the engine's thread to whoever asked, read from a thread or from an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from serve.messages import Completion, Delta


@dataclass
class Pace:
    """How often streams that are read together tell what is new: what each telling costs, many pay no more than few.

    Attributes:
        every: seconds between two tellings of all of them; 0: each token is told.
        streams: that have begun.
    """

    every: float = 0.0
    streams: int = 0

    @property
    def seconds(self) -> float:
        """Between two tellings of one."""
        return self.every * self.streams


class Stream:
    """Iterate for :class:`Delta` s, each with all tokens since the last; or wait for the whole :class:`Completion`.

    One reader at a time. An error that ends the answer is raised to the reader.

    Attributes:
        seed: of the sampling: another engine goes on with this one and the tokens so far.
        cancelled: whether the caller gave up.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.cancelled = seed, False
        self._lock = threading.Lock()
        self._parts: list[Delta] = []
        self._end: Completion | Exception | None = None
        self._wake: Callable[[], object] | None = None
        self._patient = False

    def cancel(self) -> None:
        """Give up: the row leaves its slot before the next step, and the reader gets no more."""
        self.cancelled = True

    def result(self) -> Completion:
        """Wait for the whole answer.

        Raises:
            RequestError: it was given up before it was whole.
        """
        while (end := self._ended()) is None:
            event = threading.Event()
            if self._call(event.set, patient=True):
                event.wait()
        return _checked(end)

    async def completion(self) -> Completion:
        """The same from an event loop; a caller that is cancelled meanwhile cancels the answer."""
        try:
            while (end := self._ended()) is None:
                await self._sleep(patient=True)
        except asyncio.CancelledError:
            self.cancel()
            raise
        return _checked(end)

    def __iter__(self) -> Iterator[Delta]:
        while (delta := self._take()) is not None or self._ended() is None:
            if delta is not None:
                yield delta
                continue
            event = threading.Event()
            if self._call(event.set, patient=False):
                event.wait()
        _checked(self._ended())

    async def __aiter__(self) -> AsyncIterator[Delta]:
        async for delta in self.deltas():
            yield delta

    async def deltas(self, pace: Pace | None = None) -> AsyncIterator[Delta]:
        """The first one at once, the last one at once, those between as often as a pace has it."""
        pace, begun = pace or Pace(), False
        try:
            while (delta := self._take()) is not None or self._ended() is None:
                if delta is not None:
                    pace.streams += not begun
                    begun = True
                    yield delta
                    if pace.seconds:
                        await self._rest(pace.seconds)
                else:
                    await self._sleep(patient=False)
        finally:
            pace.streams -= begun
            if self._ended() is None:
                self.cancel()
        _checked(self._ended())

    def put(self, delta: Delta) -> None:
        """By the engine: the answer has grown."""
        with self._lock:
            self._parts.append(delta)
            wake = None if self._patient else self._awake()
        if wake:
            wake()

    def end(self, outcome: Completion | Exception) -> None:
        """By the engine: the answer is whole, or there will be no more."""
        with self._lock:
            if self._end is None:
                self._end = outcome
            wake = self._awake()
        if wake:
            wake()

    def _take(self) -> Delta | None:
        with self._lock:
            parts, self._parts = self._parts, []
        if not parts:
            return None
        whole = parts[0]
        for part in parts[1:]:
            whole += part
        return whole

    def _ended(self) -> Completion | Exception | None:
        with self._lock:
            return None if self._parts and not self._patient else self._end

    def _call(self, wake: Callable[[], object], patient: bool) -> bool:
        """Have `wake` called at the next change (the end, if `patient`); False: there is one already."""
        with self._lock:
            self._patient = patient
            if self._end is not None or (self._parts and not patient):
                return False
            self._wake = wake
            return True

    def _awake(self) -> Callable[[], object] | None:
        wake, self._wake = self._wake, None
        return wake

    async def _rest(self, seconds: float) -> None:
        """Until the answer is whole, or so long: nobody is woken meanwhile."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        if self._call(lambda: _tell(loop, event), patient=True):
            timer = loop.call_later(seconds, event.set)
            await event.wait()
            timer.cancel()
        with self._lock:
            self._patient = False

    async def _sleep(self, patient: bool) -> None:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        if self._call(lambda: _tell(loop, event), patient):
            await event.wait()


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if not loop.is_closed():  # the reader has gone with its loop
        loop.call_soon_threadsafe(event.set)


def _checked(end: Completion | Exception | None) -> Completion:
    if isinstance(end, Exception):
        raise end
    assert end is not None
    return end
