"""What becomes of the other steps when one has failed: those that still lead to something that is wanted go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import ancestors, descendants

PATIENCE = 40.0
"""Seconds that a step of no use is given to end by itself or to write its next checkpoint."""
LAST = 15.0
"""Seconds more that it is given to end when it has been told to."""


def useless(steps: Sequence[Step], failed: Collection[str]) -> frozenset[str]:
    """Those steps that lead to nothing any more: every end that needs them needs a failed one too.

    Args:
        steps: that were to be run, each after its inputs; the ends are those that no other of them reads.
        failed: of these.
    """
    names = {step.name for step in steps}
    ends = names - {name for step in steps for name in step.inputs.values()}
    return frozenset(names - ancestors(steps, ends - descendants(steps, set(failed))))


@dataclass
class _Doomed:
    """A step that is to end.

    Attributes:
        work: where it writes its checkpoints.
        until: when its time is up.
        checkpoints: that it had before.
        why: it is told.
        told: to end.
    """

    work: Path
    until: float
    checkpoints: frozenset[str]
    why: str
    told: bool = False


@dataclass
class Stopping:
    """Ends steps that are of no use any more, in less than a minute: after their next checkpoint, where they write any.

    Attributes:
        steps: see :func:`useless`.
        stop: tells a step at work, or in a queue, to end.
        now: seconds.
    """

    steps: Sequence[Step]
    stop: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    _useless: frozenset[str] = frozenset()
    _failed: set[str] = field(default_factory=set)
    _doomed: dict[str, _Doomed] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, steps: Iterable[Step]) -> None:
        """Know more steps that are to be run."""
        with self._lock:
            self.steps = (*self.steps, *steps)
            self._useless = useless(self.steps, self._failed)

    def failed(self, name: str) -> None:
        """A step has failed. For any thread: what it makes useless must not begin a moment later."""
        with self._lock:
            self._failed.add(name)
            self._useless = useless(self.steps, self._failed)

    def is_useless(self, name: str) -> bool:
        """Whether a step is of no use any more. For any thread."""
        return name in self._useless

    def is_doomed(self, name: str) -> bool:
        """Whether a step is to end."""
        return name in self._doomed

    def was_told(self, name: str) -> bool:
        """Whether a step's end is our doing. For any thread."""
        return name in self._doomed and self._doomed[name].told

    def reason(self, name: str) -> str:
        """Why a step was told to end. For any thread."""
        return self._doomed[name].why

    def doom(
        self, name: str, work: Path, patience: float = PATIENCE, why: str = "stopped; what it has done is kept"
    ) -> None:
        """Let a step end, in so many seconds at most."""
        self._doomed[name] = _Doomed(work, self.now() + patience, _checkpoints(work), why)

    def look(self) -> list[str]:
        """Tell the steps whose time is up to end, and name those that were told and have not ended in time.

        The caller takes the names away from what it waits for: they are named again and again.
        """
        late = []
        for name, doomed in self._doomed.items():
            up = self.now() >= doomed.until
            if doomed.told and up:
                late.append(name)
            elif not doomed.told and (up or _checkpoints(doomed.work) - doomed.checkpoints):
                doomed.told, doomed.until = True, self.now() + LAST
                self.stop(name)
        return late


def _checkpoints(work: Path) -> frozenset[str]:
    return frozenset(path.name for path in work.glob("checkpoints/step-*"))
