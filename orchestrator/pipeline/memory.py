"""How much memory a run takes, all its processes together."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil


class MemoryWatch:
    """Samples the memory of this process and all below it (a local Ray cluster's too) until the block ends.

    Shared pages are counted once (PSS); on a remote cluster only this machine's processes are seen.
    """

    def __init__(self, interval: float = 2.0) -> None:
        self._interval, self._peak, self._stop = interval, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def peak(self) -> int:
        """Largest total seen so far, in bytes."""
        return max(self._peak, total_memory())

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._peak = max(self._peak, total_memory())


def total_memory() -> int:
    """Memory of this process and all below it, in bytes."""
    me = psutil.Process()
    return sum(map(_memory, [me, *me.children(recursive=True)]))


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return 0
