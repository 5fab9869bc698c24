"""Ray's folders in the temporary folder: each held by who made it, and cleared away when nobody holds it any more.

A process id says nothing where containers share a temporary folder: the one's may be free, or another's, in the other.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from orchestrator.errors import ResourceError

_PREFIX, _UNHELD = "mome-ray-", "mome-new-"
_LOCK = "lock"
_OLD_SECONDS = 3600.0
_LONGEST_PLACE = 16
"""Of the 107 characters of a unix socket's path, those that Ray's names below leave."""


@contextmanager
def held_folder() -> Iterator[Path]:
    """A new folder for Ray's files, held for the time of the block and removed at its end.

    What killed processes left behind is removed first.

    Raises:
        ResourceError: there is no place for it.
    """
    place = find_place()
    remove_left(place)
    made = Path(tempfile.mkdtemp(prefix=_UNHELD, dir=place))
    lock = (made / _LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Only now does it get the name by which others look for folders that nobody holds.
    folder = made.rename(place / (_PREFIX + made.name.removeprefix(_UNHELD)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def find_place() -> Path:
    """Where Ray's folders are; where TMPDIR is too deep for a socket's path, another place.

    Raises:
        ResourceError: no folder will do.
    """
    for place in (tempfile.gettempdir(), "/var/tmp"):
        if len(place) <= _LONGEST_PLACE and os.access(place, os.W_OK):
            return Path(place)
    raise ResourceError(
        f"Ray needs a folder for its files with a path of at most {_LONGEST_PLACE} characters",
        f"TMPDIR={tempfile.gettempdir()}",
        "export TMPDIR=another folder",
    )


def remove_left(place: Path) -> None:
    """Clear the folders that nobody holds, and remove them in time."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open() as lock:  # another user's may not even be looked at
            if _is_mine(folder) and _take(lock):
                _clear(folder)
    # Without a lock: killed in the moment before it held its folder, or made anew by Ray when that was removed.
    for folder in (*place.glob(f"{_UNHELD}*"), *place.glob(f"{_PREFIX}*")):
        with suppress(OSError):
            locked = folder.name.startswith(_PREFIX) and (folder / _LOCK).exists()
            if not locked and _is_mine(folder) and time.time() - folder.stat().st_mtime > _OLD_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Empty a folder. Ray's agents outlive a killed command for a minute, and would make it anew, for all to look into:
    so it stays for an hour.
    """
    if left := [path for path in folder.iterdir() if path.name != _LOCK]:
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
    elif time.time() - folder.stat().st_mtime > _OLD_SECONDS:
        shutil.rmtree(folder, ignore_errors=True)


def _is_mine(folder: Path) -> bool:
    return folder.stat().st_uid == os.getuid()


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
