"""What of a run nothing refers to any more, how much its deletion frees, and the deletion.

A run is deleted by deleting its folder: artifacts that other runs have taken over are hard links, so they stay there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.disk import disk_errors
from orchestrator.errors import ArtifactError, RunLockedError
from orchestrator.housekeeping.finding import INDEX, Found, bytes_of, files_in, run_folders
from orchestrator.housekeeping.references import References, references
from orchestrator.locks import holder, locked
from orchestrator.pipeline.journal import JOURNAL

Kind = Literal["artifact", "checkpoints", "leftover"]
_CHECKPOINTS = "--checkpoints includes it"


@dataclass(frozen=True)
class Item:
    """A folder or a file of a run.

    Attributes:
        path: of it.
        kind: what it is.
        kept: why it stays; "": it may be deleted.
        files: in it.
    """

    path: Path
    kind: Kind
    kept: str = ""
    files: tuple[Found, ...] = field(default=(), repr=False)

    @property
    def bytes(self) -> int:
        """Bytes on the disk."""
        return bytes_of(list(self.files))


@dataclass(frozen=True)
class Garbage:
    """What of a run may be deleted, and what stays.

    Attributes:
        root: the run's folder.
        items: artifacts, work folders and leftovers.
        left_alone: why nothing may be deleted; "": the items say what may.
    """

    root: Path
    items: tuple[Item, ...] = ()
    left_alone: str = ""

    @property
    def deletable(self) -> tuple[Item, ...]:
        """What may be deleted."""
        return tuple(item for item in self.items if not item.kept)


def find_garbage(root: Path, *, checkpoints: bool = False) -> Garbage:
    """What of a run may be deleted. Nothing is written.

    Args:
        root: the run's folder; runs beside it may refer to it.
        checkpoints: work folders of steps that are not planned count as garbage too: what they have trained is lost
            with them.
    """
    try:
        if at := holder(root):
            return Garbage(root, left_alone=f"at work: {at}")
        return _garbage(root, checkpoints)
    except ArtifactError as error:
        return Garbage(root, left_alone=f"{error.what} ({error.where})")
    except OSError as error:
        return Garbage(root, left_alone=f"can't be read: {error.strerror}")


def delete_garbage(root: Path, *, checkpoints: bool = False) -> Garbage:
    """Delete what :func:`find_garbage` finds now, with the run's lock held. Returns what was found.

    Raises:
        ResourceError: the run's folder can't be written to.
    """
    found = find_garbage(root, checkpoints=checkpoints)
    if not found.deletable:
        return found
    try:
        with locked(root):
            found = _garbage(root, checkpoints)  # a process may have been at work since
            for item in found.deletable:
                with disk_errors(item.path):
                    _delete(item.path)
    except RunLockedError as error:
        return Garbage(root, left_alone=error.what)
    except ArtifactError as error:
        return Garbage(root, left_alone=f"{error.what} ({error.where})")
    return found


def freed(items: Iterable[Item]) -> int:
    """Bytes that the deletion of all these frees: those of files that have no name elsewhere."""
    files = [each for item in items for each in item.files]
    here = Counter(each.inode for each in files)
    return sum({each.inode: each.bytes for each in files if here[each.inode] >= each.names}.values())


def _garbage(root: Path, checkpoints: bool) -> Garbage:
    known = references(root, run_folders(root.absolute().parent))
    items = [*_artifacts(root, known), *_works(root, known, checkpoints), *_leftovers(root)]
    return Garbage(root, tuple(items))


def _artifacts(root: Path, known: References) -> Iterator[Item]:
    for folder in sorted(root.glob("stages/*/[!.]*")):
        who = known.to((folder.parent.name, folder.name))
        if not (who or (root / JOURNAL).exists()) and _is_newer(folder, root / INDEX):
            who = ["a run that is not finished"]  # by a release that wrote no plans
        yield _item(folder, "artifact", ", ".join(who))


def _is_newer(folder: Path, file: Path) -> bool:
    return not file.exists() or folder.stat().st_mtime > file.stat().st_mtime


def _works(root: Path, known: References, checkpoints: bool) -> Iterator[Item]:
    for folder in sorted(root.glob("work/*")):
        step, _, fingerprint = folder.name.rpartition("-")
        published = (root / "stages" / step / fingerprint / "manifest.json").exists()
        if published:
            yield _item(folder, "leftover", "")
        elif (step, fingerprint) in known.planned:
            yield _item(folder, "checkpoints", "the latest plan goes on from it")
        else:
            yield _item(folder, "checkpoints", "" if checkpoints else _CHECKPOINTS)


def _leftovers(root: Path) -> Iterator[Item]:
    """What killed processes have left half-written; folders of work are told as wholes."""
    for pattern in ("stages/*/.*", "mixtures/.*", ".report.*", ".*.tmp"):
        for path in sorted(root.glob(pattern)):
            yield _item(path, "leftover", "")


def _item(path: Path, kind: Kind, kept: str) -> Item:
    return Item(path, kind, kept, tuple(_files(path)))


def _files(path: Path) -> Sequence[Found]:
    if path.is_dir() and not path.is_symlink():
        return list(files_in(path))
    with suppress(OSError):
        facts = path.lstat()
        return [Found(facts.st_blocks * 512, facts.st_mtime, facts.st_nlink, (facts.st_dev, facts.st_ino))]
    return []


def _delete(path: Path) -> None:
    """Delete so that no half of an artifact is ever seen under its name."""
    doomed = path if path.name.startswith(".") else path.rename(path.with_name(f".{path.name}.deleted"))
    remove: Callable[[Path], object] = shutil.rmtree if doomed.is_dir() and not doomed.is_symlink() else Path.unlink
    remove(doomed)
    with suppress(OSError):
        if path.parent.parent.name == "stages":
            path.parent.rmdir()  # the step's folder, where it holds nothing more
