"""Which folders are runs, and how large they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ArtifactError
from orchestrator.locks import LOCK
from orchestrator.pipeline.journal import JOURNAL
from orchestrator.plugins import near

INDEX = "artifacts.json"
_MARKS = (INDEX, JOURNAL, "stages")


def run_folders(runs: Path) -> list[Path]:
    """The folders in `runs` that are runs, finished or not, in the order of their names; links among them.

    Raises:
        ArtifactError: there is no such folder, or it can't be read.
    """
    try:
        return [path for path in sorted(runs.iterdir()) if path.is_dir() and is_run(path)]
    except OSError as error:
        fix = "name the folder that holds the runs (--runs FOLDER); mome run RECIPE makes the first"
        raise ArtifactError(f"the runs can't be listed: {error.strerror}", str(runs), fix) from None


def is_run(folder: Path) -> bool:
    """Whether a command has made this folder for a run; so is taken what can't be looked into."""
    try:
        names = {entry.name for entry in os.scandir(folder)}
        # a command that was refused before it did anything leaves its lock, empty
        return not names.isdisjoint(_MARKS) or (LOCK in names and (folder / LOCK).stat().st_size > 0)
    except PermissionError:
        return True
    except OSError:
        return False


def find_run(name: str, runs: Path) -> Path:
    """The folder of a run, by its name or its folder; the run need not be finished.

    Raises:
        ArtifactError: there is no such run (with the names there are).
    """
    for root in (runs / name, Path(name)):
        if root.is_dir() and is_run(root):
            return root.absolute()
    raise no_run(name, runs, [path.name for path in run_folders(runs)] if runs.is_dir() else [])


def no_run(name: str, runs: Path, there: Sequence[str]) -> ArtifactError:
    """The error where no run has this name.

    Args:
        name: that was asked for. runs: folder of the runs. there: names of those that are there.
    """
    known = f"{near(name, there)} runs there are: {', '.join(there)}".strip() if there else "mome run RECIPE makes one"
    return ArtifactError(f"there is no run {name!r}", str(runs), known)


@dataclass(frozen=True)
class Found:
    """A file or a folder.

    Attributes:
        bytes: on the disk.
        changed: when, in seconds since 1970.
        names: how many it has (hard links).
        inode: what tells it from others.
    """

    bytes: int
    changed: float
    names: int
    inode: tuple[int, int]


def files_in(folder: Path) -> Iterator[Found]:
    """The files of a folder, and folders in it, of which nothing is followed; what disappears meanwhile is left out."""
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
            except OSError:
                continue
            names = 1 if entry.is_dir(follow_symlinks=False) else facts.st_nlink
            yield Found(facts.st_blocks * 512, facts.st_mtime, names, (facts.st_dev, facts.st_ino))


def bytes_of(found: Iterator[Found] | list[Found]) -> int:
    """Bytes on the disk; a file with several names counts once."""
    return sum({each.inode: each.bytes for each in found}.values())
