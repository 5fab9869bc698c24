"""What a run does, or has come to, read from its folder. Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from orchestrator.artifacts import MANIFEST, Artifact
from orchestrator.errors import ArtifactError
from orchestrator.faults import FOLDER as ERRORS
from orchestrator.housekeeping.finding import INDEX, bytes_of, files_in, run_folders
from orchestrator.locks import LOCK, Holder, holder
from orchestrator.pipeline.following import Follower
from orchestrator.pipeline.journal import JOURNAL, JournalReader, Noted

METRICS = "metrics.jsonl"
State = Literal["running", "finished", "failed", "unfinished", "damaged"]


@dataclass(frozen=True)
class StepAtWork:
    """A step at work.

    Attributes:
        name: of the step.
        optimizer_step: how far its training is, by its metrics; None: it has written none yet.
        optimizer_steps: of how many.
    """

    name: str
    optimizer_step: int | None = None
    optimizer_steps: int | None = None

    def __str__(self) -> str:
        known = self.optimizer_step is not None
        return f"{self.name} {self.optimizer_step}/{self.optimizer_steps}" if known else self.name


@dataclass(frozen=True)
class RunState:
    """A run as it is now.

    Attributes:
        name, folder: of the run.
        state: what it does, or has come to.
        why: of a failure, or of damage: its first line.
        holder: the process at work.
        done, steps: how many steps of all are done; None: not known.
        at_work: steps at work.
        bytes: on the disk.
        changed: when something in the folder last changed, UTC, ISO 8601.
    """

    name: str
    folder: Path
    state: State
    why: str = ""
    holder: Holder | None = None
    done: int | None = None
    steps: int | None = None
    at_work: tuple[StepAtWork, ...] = ()
    bytes: int = 0
    changed: str = ""

    def record(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {**asdict(self), "folder": str(self.folder)}


def run_states(runs: Path) -> Iterator[RunState]:
    """The states of all runs in a folder, in the order of their names.

    Raises:
        ArtifactError: there is no such folder.
    """
    return map(run_state, run_folders(runs))


def run_state(root: Path) -> RunState:
    """The state of a run, whatever is in its folder."""
    found = list(files_in(root))
    newest = max((each.changed for each in found), default=0.0)
    changed = datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds") if found else ""
    about: dict[str, Any] = {"bytes": bytes_of(found), "changed": changed}
    try:
        about |= _facts(root)
    except ArtifactError as error:
        about |= {"state": "damaged", "why": f"{error.what}: {error.where}"}
    except OSError as error:
        about |= {"state": "damaged", "why": f"can't be read: {error.strerror}"}
    return RunState(root.name, root, **about)


def steps_of_run(root: Path) -> dict[str, Noted]:
    """The steps that the latest command wants: the journal's, or those of `artifacts.json` where that is newer.

    Raises:
        ArtifactError: `artifacts.json` says nothing that can be read. OSError: a file can't be read.
    """
    journal, index = root / JOURNAL, root / INDEX
    if index.exists() and not (journal.exists() and _changed(journal) > _changed(index)):
        return {name: Noted(folder) for name, folder in indexed(root).items()}
    return JournalReader(root).read()


def indexed(root: Path) -> dict[str, str]:
    """Step -> its folder, relative to the run's, as `artifacts.json` has it; empty where there is none.

    Raises:
        ArtifactError: it can't be read.
    """
    try:
        steps = json.loads((root / INDEX).read_text(encoding="utf-8"))["steps"]
        return {str(name): str(folder) for name, folder in dict(steps).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        fix = "type its mome run command again: it writes the file anew"
        raise ArtifactError("which steps are done can't be read", str(root / INDEX), fix) from None


def work_of(root: Path, folder: str) -> Path:
    """Where the step whose artifact is to be in `folder` keeps its checkpoints and metrics."""
    return root / "work" / f"{Path(folder).parent.name}-{Path(folder).name}"


def steps_at_work(root: Path, steps: Mapping[str, Noted]) -> list[str]:
    """Names of the steps that have begun and not ended; for a run that a process is at work on."""
    return [n for n, s in steps.items() if s.began and not s.failed and not _is_there(root / s.folder)]


def _facts(root: Path) -> dict[str, Any]:
    """Fields of the state.

    Raises:
        ArtifactError: the run is damaged. OSError: it can't be read.
    """
    next(root.iterdir(), None)
    at = holder(root)
    steps = steps_of_run(root)
    if at is not None and _began_before(root):
        return {"state": "running", "holder": at}  # it is still planning
    is_done = _is_whole if at is None else _is_there  # a step that is made again goes away meanwhile
    done = [name for name, noted in steps.items() if is_done(root / noted.folder)]
    known = {"done": len(done), "steps": len(steps)} if steps else {}
    if at is not None:
        working = tuple(_at_work(root, name, steps[name]) for name in steps_at_work(root, steps))
        return {"state": "running", "holder": at, "at_work": working, **known}
    if steps and len(done) == len(steps):
        return {"state": "finished", **known}
    if why := _failure(root, steps):
        return {"state": "failed", "why": why, **known}
    return {"state": "unfinished", **known}


def _began_before(root: Path) -> bool:
    """Whether the run's steps were planned before its process came: by times of one clock, the file system's."""
    return _told(root) < _changed(root / LOCK)


def _told(root: Path) -> float:
    """When the folder last said what becomes of its steps."""
    return max((_changed(path) for path in (root / JOURNAL, root / INDEX) if path.exists()), default=0.0)


def _is_there(folder: Path) -> bool:
    return (folder / MANIFEST).exists()


def _is_whole(folder: Path) -> bool:
    """Whether a step's artifact is there.

    Raises:
        ArtifactError: it is damaged.
    """
    return folder.exists() and bool(Artifact.open(folder))


def _at_work(root: Path, name: str, noted: Noted) -> StepAtWork:
    for row in reversed(Follower(work_of(root, noted.folder) / METRICS).read()):
        if "step" in row and "steps" in row:
            return StepAtWork(name, row["step"], row["steps"])
    return StepAtWork(name)


def _failure(root: Path, steps: Mapping[str, Noted]) -> str:
    """The first line of the first failure; "": none is known of the latest command."""
    for name, noted in steps.items():
        if noted.failed:
            return f"{name}: {noted.failed}"
    begun = _told(root)
    for file in sorted((root / ERRORS).glob("*.txt"), key=_changed):
        with suppress(OSError):
            if _changed(file) >= begun and (lines := file.read_text("utf-8", errors="replace").split("\n")):
                told = [line for line in lines if line and not line.startswith(" ")]
                return f"{told[0].partition(',')[0]}: {told[-1]}" if len(told) > 1 else lines[0]
    return ""


def _changed(path: Path) -> float:
    return path.stat().st_mtime
