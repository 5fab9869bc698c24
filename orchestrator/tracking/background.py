"""An observer that hands events to another one from a thread of its own: a slow or dead server never holds up a run."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.tracking.observer import Observer

Event = tuple[str, tuple[Any, ...]]


class Background:
    """Events are kept in order and tried again until the run is over, so an outage loses nothing that it outlives.

    Args:
        open_observer: makes the observer behind; called in the thread, again after it failed. Its methods may raise.
        where: what to call it in messages.
        say: takes a line to print.
        retry_seconds: time between tries.
        rest_seconds: how long metrics are collected before they are handed over.
        patience: longest wait for what is still queued when the run is over, in seconds; a store that has never
            answered gets one more try.
        hide: masks secrets in what an error says.
    """

    def __init__(
        self,
        open_observer: Callable[[], Observer],
        where: str,
        say: Callable[[str], None],
        retry_seconds: float = 20.0,
        rest_seconds: float = 5.0,
        patience: float = 60.0,
        hide: Callable[[str], str] = str,
    ) -> None:
        self._open, self._where, self._say = open_observer, where, say
        self._retry_seconds, self._rest_seconds = retry_seconds, rest_seconds
        self._patience, self._hide = patience, hide
        self._events: queue.Queue[Event] = queue.Queue()
        self._over = threading.Event()
        self._broken = False
        self._end = 0.0
        self._observer: Observer | None = None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def started(self, step: str) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._events.put(("started", (step,)))

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._events.put(("metrics", (step, rows)))

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._events.put(("finished", (step, manifest, folder)))

    def failed(self, step: str, error: Exception) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._events.put(("failed", (step, error)))

    def close(self, report: Path | None) -> None:
        """Write what is still queued, for as long as patience lasts."""
        self._events.put(("close", (report,)))
        self._end = time.monotonic() + self._patience
        self._over.set()
        self._thread.join(self._patience)
        if self._thread.is_alive():
            again = "the same command sends them"
            self._say(f"tracking: {self._where} is too slow, the last events of this run are not in it; {again}")

    def _work(self) -> None:
        while True:
            first = self._events.get()
            if first[0] == "metrics":  # more will come, and a store takes as long for one row as for a hundred
                self._over.wait(self._rest_seconds)
            for name, arguments in merged([first, *self._waiting()]):
                if not self._deliver(name, arguments) or name == "close":
                    return

    def _waiting(self) -> list[Event]:
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def _deliver(self, name: str, arguments: tuple[Any, ...]) -> bool:
        """Hand over one event, however often it takes; False when the run is over before it worked."""
        while True:
            over = self._over.is_set()
            last_try = over and (self._observer is None or time.monotonic() > self._end - self._retry_seconds)
            try:
                self._observer = self._observer or self._open()
                getattr(self._observer, name)(*arguments)
            except Exception as error:  # whatever it is, the run goes on
                self._warn(error)
                if last_try:
                    again = "the same command sends the rest"
                    self._say(f"tracking: {self._where} did not come back, this run is not complete in it; {again}")
                    return False
                time.sleep(min(1.0, self._retry_seconds)) if over else self._over.wait(self._retry_seconds)
            else:
                if self._broken:
                    self._say(f"tracking: {self._where} is back")
                self._broken = False
                return True

    def _warn(self, error: Exception) -> None:
        if not self._broken:
            # Hidden before it is cut: half a password is still a secret.
            reason = (self._hide(str(error)).strip() or type(error).__name__).splitlines()[0][:200]
            self._say(
                f"tracking: {self._where} can't be written to ({reason}); "
                "the run goes on without it, its metrics are in its own files"
            )
        self._broken = True


def merged(events: Sequence[Event]) -> list[Event]:
    """The events with neighbouring metrics of a step put together, so that a late tracker catches up in few calls."""
    result: list[Event] = []
    at: dict[str, int] = {}  # step -> where its metrics are, since the last event of another kind
    for name, arguments in events:
        if name != "metrics":
            at.clear()
        elif arguments[0] in at:
            step, rows = result[at[arguments[0]]][1]
            result[at[step]] = (name, (step, [*rows, *arguments[1]]))
            continue
        else:
            at[arguments[0]] = len(result)
        result.append((name, arguments))
    return result
