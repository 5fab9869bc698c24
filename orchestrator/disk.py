"""Files on the disk: folders that appear whole, who may read them, and digests of what they hold."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.errors import ArtifactError, ResourceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_Facts = tuple[str, int, int, int]
_KNOWN: dict[_Facts, str] = {}
_CLOCK_NS = 20_000_000
"""More than a file system's clock takes from one tick to the next."""
_LOCK = threading.Lock()  # steps that begin together read the same teacher: it is hashed once


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_digest(path: Path) -> str:
    """The same, computed once for as long as path, size, time of change and inode stay as they are.

    Raises:
        OSError: it can't be read.
    """
    with _LOCK:
        facts = _facts(path)
        if (sha256 := _KNOWN.get(facts)) is None:
            sha256 = file_digest(path)
            _remember(facts, sha256)
        return sha256


def remember_digest(path: Path, sha256: str) -> None:
    """Spare :func:`known_digest` a file that this process has just written and hashed."""
    _remember(_facts(path), sha256)


def share_files(folder: Path) -> None:
    """Let everybody read the files below a new folder whom the umask lets read the folder itself.

    safetensors writes its files with mode 0600 whatever the umask. The folder's own mode is what the umask, or a
    default access list, has made of 0777; asking for the umask would set it, for all threads. Links are left alone, and
    nothing is taken from anybody: a file may have another name in another run.
    """
    wanted = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.rglob("*"):
        facts = path.lstat()
        if stat.S_ISREG(facts.st_mode) and wanted & ~facts.st_mode:
            with suppress(PermissionError):  # another user's, linked: not ours to change
                path.chmod(stat.S_IMODE(facts.st_mode) | wanted)


@contextmanager
def disk_errors(where: Path, what: str = "run", option: str = "--runs") -> Iterator[None]:
    """Turn a full disk, or a place that can't be written to, into a :class:`ResourceError` that says where.

    Args:
        where: what is written.
        what: that is, in a word.
        option: that chose the place.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # safetensors has an error class of its own, with the number in its text alone
        if number in _FULL or any(f"os error {full}" in str(error) for full in _FULL):
            raise ResourceError(
                "no space left on the disk", str(where), "free some space, then type the same command"
            ) from None
        refused = _refused_place(error, where) if isinstance(error, OSError) else None
        if refused is None:
            raise
        fix = f"make it a folder that you may write to, or choose another place: {option} FOLDER"
        raise ResourceError(f"the {what} can't be written: {error.strerror}", refused, fix) from None  # type: ignore[attr-defined]


def _refused_place(error: OSError, where: Path) -> str | None:
    """The path at which writing to `where` was refused; None: the error is about something else, a source, say."""
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    if path is None:
        return str(where) if error.errno == errno.EROFS else None
    above, beside = where.is_relative_to(path), path.is_relative_to(where.parent)
    none_made = error.errno == errno.ENOENT and path.parent == where.parent and path.name.startswith(f".{where.name}.")
    return str(path) if above or none_made or (beside and error.errno in _REFUSED) else None


def place_folder(target: Path, fill: Callable[[Path], object], what: str = "run", option: str = "--runs") -> None:
    """Fill a temporary folder and move it to `target`, in place of what is there, whole or not at all.

    Whoever the umask lets read the folder can read its files. `what` and `option` are those of :func:`disk_errors`.

    Raises:
        ArtifactError: a link stands there. ResourceError: no space left. Whatever `fill` raises.
    """
    if target.is_symlink():
        raise ArtifactError("a link stands where a folder is to be made", str(target), "move the link away")
    with disk_errors(target, what, option):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        temporary.mkdir()  # not mkdtemp: its folders are the owner's alone
        try:
            fill(temporary)
            share_files(temporary)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name; where the file system can't, copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _remember(facts: _Facts, sha256: str) -> None:
    if time.time_ns() - facts[2] > _CLOCK_NS:  # else a later change may have the same time
        _KNOWN[facts] = sha256


def _facts(path: Path) -> _Facts:
    facts = path.stat()
    return os.path.abspath(path), facts.st_size, facts.st_mtime_ns, facts.st_ino  # noqa: PTH100 (links stay)
