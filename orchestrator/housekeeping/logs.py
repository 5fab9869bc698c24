"""The metrics and messages of a run's steps as lines, also while they are written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.artifacts import MANIFEST
from orchestrator.errors import ArtifactError
from orchestrator.housekeeping.states import METRICS, steps_at_work, steps_of_run, work_of
from orchestrator.locks import holder
from orchestrator.pipeline.following import Follower
from orchestrator.pipeline.journal import Noted
from orchestrator.plugins import near
from orchestrator.tracking.lines import done, progress

_LOOK_SECONDS = 0.3


def log_lines(root: Path, step: str | None = None) -> Iterator[str]:
    """Lines of a step, or of those at work; where no process is at work, of those that were left unfinished.

    Args:
        root: the run's folder.
        step: name of a step; None: those at work.

    Raises:
        ArtifactError: there is no such step, or it has written nothing.
    """
    steps = steps_of_run(root)
    if step is not None:
        names = [_known(root, steps, step)]
    elif holder(root) is not None:
        names = steps_at_work(root, steps)
    else:
        names = [name for name, noted in steps.items() if work_of(root, noted.folder).exists()]
    lines = [line for name in names for line in _StepLog(root, name, steps[name]).read()]
    if lines or (step is None and holder(root) is not None):
        return iter(lines)
    there = ", ".join(name for name, noted in steps.items() if _has_written(root, noted)) or "none yet"
    what = "no step is at work" if step is None else f"the step {step!r} has written no metrics"
    raise ArtifactError(what, str(root), f"steps with metrics: {there}")


def follow(root: Path, step: str | None = None) -> Iterator[str]:
    """Lines of a step, or of all that are at work or begin, until the run is over (or the step has ended).

    Where no process is at work, these are the lines of :func:`log_lines`.

    Args:
        root: the run's folder.
        step: name of a step; None: all.

    Raises:
        ArtifactError: there is no such step.
    """
    if holder(root) is None:
        yield from log_lines(root, step)
        return
    steps = steps_of_run(root)
    working = steps_at_work(root, steps) if step is None else [_known(root, steps, step)]
    before = {name for name, noted in steps.items() if noted.began} - set(working)
    following: dict[str, _StepLog] = {}
    over = False
    while not over:
        over = holder(root) is None  # asked first: what is written before its end is read
        steps = steps_of_run(root)
        begun = [name for name, noted in steps.items() if noted.began and name not in before]
        for name in begun if step is None else [step]:
            log = following.setdefault(name, _StepLog(root, name, steps[name]))
            log.noted = steps[name]
            yield from log.read()
        over = over or (step is not None and following[step].ended)
        if not over:
            time.sleep(_LOOK_SECONDS)


@dataclass
class _StepLog:
    """The lines of a step, as far as they were not read before."""

    root: Path
    name: str
    noted: Noted
    ended: bool = False
    _follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        self._follower = Follower(self._work)

    def read(self) -> Iterator[str]:
        """New lines; the last one says how the step ended."""
        if self.ended:
            return
        artifact = self.root / self.noted.folder
        published = (artifact / MANIFEST).exists()
        if published and (artifact / METRICS).exists():
            self._follower.path = artifact / METRICS  # the same rows, which `work` may have lost by now
        for row in self._follower.read():
            for text in (str(row.get("message", "")), progress(row)):
                if text:
                    yield f"{self.name}: {text}"
        if published:
            with suppress(OSError, ValueError, KeyError, TypeError):
                manifest = json.loads((artifact / MANIFEST).read_text(encoding="utf-8"))
                yield f"{self.name}: {done(manifest, artifact)}"
        elif self.noted.failed:
            yield f"{self.name}: failed: {self.noted.failed}"
        self.ended = published or bool(self.noted.failed)

    @property
    def _work(self) -> Path:
        return work_of(self.root, self.noted.folder) / METRICS


def _known(root: Path, steps: dict[str, Noted], step: str) -> str:
    if step in steps:
        return step
    known = f"{near(step, steps)} steps: {', '.join(steps)}".strip() if steps else "it has none yet"
    raise ArtifactError(f"this run has no step {step!r}", str(root), known)


def _has_written(root: Path, noted: Noted) -> bool:
    return any((folder / METRICS).exists() for folder in (root / noted.folder, work_of(root, noted.folder)))
