"""How fast the processes of a run got on: the share of the time that they were ready to run in which they had a core.

The kernel counts, for each thread, how long it ran and how long it waited for a core. Whatever took the cores is in
it, this run's own steps and what others do on the machine. Where the kernel does not count (no Linux), nothing is
known.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_PROC = Path("/proc")
_SECONDS = 2.0
_LEAST = 0.05
"""Share of a core that the processes must have used for their pace to be known: else they wait for something else."""
_LEAST_REST = 100
"""Times as long as it looked that the watch rests: threads of many processes take long to read."""
_PROBE_SECONDS = 0.5
_BLOCK = bytes(1 << 20)


@dataclass
class Paces:
    """Samples the pace of this process and all below it until the block ends.

    Attributes:
        times: of the samples, on the clock of :func:`time.perf_counter`.
        own: seconds that would have passed from the first to each sample with a core for whoever was ready to run.
    """

    interval: float = _SECONDS
    times: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    def __enter__(self) -> Paces:
        self._over = threading.Event()
        self._before = _counts()
        self._note(1.0)
        if self._before:
            threading.Thread(target=self._watch, name="paces", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    @property
    def known(self) -> bool:
        """Whether anything was sampled."""
        return len(self.times) > 1

    def seconds(self, begin: float, end: float) -> float:
        """That something would have taken with a core for each of its threads, at work from `begin` to `end`."""
        return self._at(end) - self._at(begin)

    def _at(self, moment: float) -> float:
        place = min(max(bisect_right(self.times, moment) - 1, 0), len(self.times) - 2)
        (first, last), (own, then) = self.times[place : place + 2], self.own[place : place + 2]
        return own + (moment - first) * (then - own) / (last - first)

    def _watch(self) -> None:
        took = 0.0
        while not self._over.wait(max(self.interval, _LEAST_REST * took)):
            begin = time.perf_counter()
            self.look()
            took = time.perf_counter() - begin

    def look(self) -> None:
        """Take a sample now."""
        now, before, ran, paced = _counts(), self._before, 0.0, 0.0
        for thread, (run, waited) in now.items():
            run_before, waited_before = before.get(thread, (0, 0))
            run, waited = max(0, run - run_before), max(0, waited - waited_before)
            ran += run / 1e9
            paced += run / 1e9 * run / (run + waited) if run else 0.0  # who does most of the work counts most
        self._before = now
        idle = ran < _LEAST * (time.perf_counter() - self.times[-1])
        self._note(1.0 if idle else paced / ran)

    def _note(self, pace: float) -> None:
        now = time.perf_counter()
        self.own.append(self.own[-1] + (now - self.times[-1]) * pace if self.own else 0.0)
        self.times.append(now)


def free_cores(wanted: int) -> float:
    """Cores that as many busy threads get now, measured for a moment.

    Args:
        wanted: threads, at least 1.
    """
    end = time.perf_counter() + _PROBE_SECONDS
    threads = [threading.Thread(target=_spin, args=(end,), daemon=True) for _ in range(wanted)]
    begin, before = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return min(float(wanted), (time.process_time() - before) / (time.perf_counter() - begin))


def _spin(end: float) -> None:
    while time.perf_counter() < end:
        hashlib.sha256(_BLOCK)  # without the interpreter's lock


def _counts() -> dict[tuple[int, str], tuple[int, int]]:
    """By process and thread, nanoseconds that it ran, and that it waited for a core."""
    found = {}
    for process in (os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))):
        for thread, text in _threads(process):
            with suppress(ValueError, IndexError):
                run, waited = map(int, text.split()[:2])
                found[process, thread] = (run, waited)
    return found


def _threads(process: int) -> Iterator[tuple[str, str]]:
    with suppress(OSError):  # it has ended
        for folder in (_PROC / str(process) / "task").iterdir():
            with suppress(OSError):
                yield folder.name, (folder / "schedstat").read_text()
