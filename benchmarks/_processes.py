"""CPU time and memory of a process and all below it."""

from __future__ import annotations

from contextlib import suppress

import psutil


class Tree:
    """A process and all below it, as last looked at. A process that has ended counts with what it had used then."""

    def __init__(self, root: int) -> None:
        self._root, self._cpu = root, dict[tuple[int, float], float]()
        self.processes = self.bytes = 0

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes that were ever seen."""
        return sum(self._cpu.values())

    def look(self) -> None:
        """Read what every process has used until now."""
        self.processes = self.bytes = 0
        for process in self._all():
            try:
                with process.oneshot():
                    times, size = process.cpu_times(), process.memory_info().rss
            except psutil.Error:
                continue
            self._cpu[process.pid, process.create_time()] = times.user + times.system
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
