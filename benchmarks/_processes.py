"""CPU time and memory of a process and all below it.

CPU time is added up by thread: on virtual machines the total of a process was seen to run ahead of its threads', until
all processes together had used more than the cores can give.
"""

from __future__ import annotations

from contextlib import suppress

import psutil

CPU_STEP = 0.01
"""Seconds in which Linux counts a thread's CPU time."""


def own_cpu() -> float:
    """CPU seconds of this process's threads."""
    return sum(_threads(psutil.Process()).values())


class Tree:
    """A process and all below it, as last looked at. A thread that has ended counts with what it had used then."""

    def __init__(self, root: int) -> None:
        self._root, self._cpu = root, dict[tuple[int, float, int], float]()
        self.processes = self.bytes = 0

    @property
    def cpu(self) -> float:
        """CPU seconds of all threads that were ever seen."""
        return sum(self._cpu.values())

    def look(self) -> None:
        """Read what every thread has used until now."""
        self.processes = self.bytes = 0
        for process in self._all():
            try:
                with process.oneshot():
                    threads, size, began = _threads(process), process.memory_info().rss, process.create_time()
            except psutil.Error:
                continue
            self._cpu |= {(process.pid, began, thread): seconds for thread, seconds in threads.items()}
            self.processes += 1
            self.bytes += size

    def memory(self) -> float:
        """Bytes of all processes, with what they share shared out among them (PSS)."""
        total = 0
        for process in self._all():
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        return float(total)

    def titles(self, beginning: str) -> list[str]:
        """Of processes, those that begin so."""
        found = []
        for process in self._all():
            with suppress(psutil.Error):
                if (title := " ".join(process.cmdline())).startswith(beginning):
                    found.append(title)
        return found

    def _all(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._root)
            return [root, *root.children(recursive=True)]
        except psutil.Error:  # it has ended
            return []


def _threads(process: psutil.Process) -> dict[int, float]:
    """CPU seconds of each."""
    return {each.id: each.user_time + each.system_time for each in process.threads()}
