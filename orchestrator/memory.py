"""How much memory a step takes, and a run: two figures, in every manifest.

`peak_memory_bytes` is the step's own. Of each process that ran its code (the stage's process, or each worker of its
training, and the processes that took items of its parallel map) the largest resident memory while it was at that; these
summed: what they could have held at one time. A page that several of them share counts in each. Processes that only
start or watch others (the driver, Ray's own, a training's controller) don't count, and steps that run at the same time
don't count each other; but what a process keeps of an earlier step's work is there (`--local`, and tasks of Ray).
Memory of GPUs is in `training.json`.

`run_peak_memory_bytes` is the whole run's, up to the step's end: all processes from the one that was started down, each
page once, as samples every few seconds find it, and no less than a step's own. It is null where the run uses a cluster
that it did not start: not all processes there are its own.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

import psutil

from orchestrator.environment import ParallelMap
from orchestrator.records import MemoryFacts

Item = TypeVar("Item")
Result = TypeVar("Result")
_PROC = Path("/proc/self")
_LEAST_REST = 50  # a watch rests so many times longer than it looked: pages of many GB take long to count


class Used(NamedTuple):
    """What a runner says of a step.

    Attributes:
        peak: memory of the step's own processes, in bytes.
        here: whether they were below this process.
    """

    peak: int
    here: bool


def memory_facts(used: Used | None, watch: MemoryWatch) -> MemoryFacts:
    """What a manifest says of memory; `used` is None where a runner does not measure."""
    if used is not None and used.here:
        watch.note(used.peak)
    whole = watch.peak() if used is None or used.here else None
    return {"peak_memory_bytes": used.peak if used else None, "run_peak_memory_bytes": whole}


@dataclass
class PeakMemory:
    """The largest resident memory of this process while the block runs, and of others that worked for it.

    On Linux it is the kernel's own mark of the highest, put back when the block begins, so no moment is missed.
    Elsewhere it is known where it is higher than ever before, and otherwise as it is at the block's begin and end.
    """

    own: int = 0
    """Of this process; known when the block is over."""
    others: dict[str, int] = field(default_factory=dict)
    """Of each other process, by its name."""

    @property
    def bytes(self) -> int:
        """The sum."""
        return self.own + sum(self.others.values())

    def add(self, process: str, size: int) -> None:
        """Take in what another process held in a part of its work."""
        self.others[process] = max(size, self.others.get(process, 0))

    def __enter__(self) -> PeakMemory:
        self._highest, self.own = _highest_ever(), _resident()
        try:
            (_PROC / "clear_refs").write_text("5")
            self._reset = True
        except OSError:  # not Linux, or a container that forbids it
            self._reset = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        highest = _highest_ever()
        known = self._reset or highest > self._highest
        self.own = max(self.own, highest if known else _resident())


@dataclass(frozen=True)
class MeasuredMap:
    """A parallel map that notes what the processes held which took its items."""

    map: ParallelMap
    peak: PeakMemory

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See :class:`orchestrator.environment.ParallelMap`."""
        for result, process, size in self.map(_Measured(function, process_name()), items):
            if size:
                self.peak.add(process, size)
            yield result


@dataclass(frozen=True)
class _Measured(Generic[Item, Result]):
    """A function that says with each result which process made it, and what that held; 0 in the caller's own."""

    function: Callable[[Item], Result]
    caller: str

    def __call__(self, item: Item) -> tuple[Result, str, int]:
        name = process_name()
        if name == self.caller:
            return self.function(item), name, 0
        with PeakMemory() as peak:
            result = self.function(item)
        return result, name, peak.own


class MemoryWatch:
    """Samples the memory of this process and all below it (a local Ray cluster's too) until the block ends.

    Shared pages are counted once (PSS); of a remote cluster nothing is seen.
    """

    def __init__(self, interval: float = 5.0) -> None:
        self._interval, self._peak, self._stop = interval, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def note(self, size: int) -> None:
        """Take in what some of the processes held between two samples, in bytes."""
        self._peak = max(self._peak, size)

    def peak(self) -> int:
        """Largest total seen so far, in bytes."""
        self._peak = max(self._peak, total_memory())
        return self._peak

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def _watch(self) -> None:
        took = 0.0
        while not self._stop.wait(max(self._interval, _LEAST_REST * took)):
            start = time.perf_counter()
            self.peak()
            took = time.perf_counter() - start


def total_memory() -> int:
    """Memory of this process and all below it, in bytes."""
    me = psutil.Process()
    return sum(map(_memory, [me, *me.children(recursive=True)]))


def process_name() -> str:
    """A name of this process that no other one at work for a run has, on whichever machine."""
    return f"{os.uname().nodename}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def _memory(process: psutil.Process) -> int:
    try:
        found: Any = process.memory_full_info()
        return int(getattr(found, "pss", found.uss))
    except psutil.Error:
        return 0


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _highest_ever() -> int:
    """Largest resident memory of this process, since it began or since the kernel was told to forget."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
