"""Digests of files by content, each computed once: a file that is moved or copied to another machine stays the same.

What was computed is kept in `contents.sqlite` in the user's cache folder, by path, size, time of change and inode.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import xxhash

_KEPT_FROM = 1 << 20
"""Smaller files are read faster than looked up."""
_CHUNK = 1 << 22
_TABLE = "CREATE TABLE IF NOT EXISTS contents (path TEXT PRIMARY KEY, facts TEXT, digest TEXT)"


def cache_folder() -> Path:
    """Where this user's caches are: `$XDG_CACHE_HOME/mome`, or `~/.cache/mome`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mome"


def content_digests(paths: Iterable[Path]) -> list[str]:
    """XXH3-128 (hex) of each file's bytes. A cache that can't be read or written is done without.

    Raises:
        OSError: a file can't be read.
    """
    known = _Known(cache_folder() / "contents.sqlite")
    return [known.digest(path) for path in paths]


class _Known:
    def __init__(self, file: Path) -> None:
        self._file = file

    def digest(self, path: Path) -> str:
        fact = path.stat()
        if fact.st_size < _KEPT_FROM:
            return _digest(path)
        key, facts = str(path.resolve()), f"{fact.st_size} {fact.st_mtime_ns} {fact.st_ino}"
        found = self._look_up(key, facts) or _digest(path)
        self._keep(key, facts, found)
        return found

    def _look_up(self, key: str, facts: str) -> str | None:
        with (
            suppress(sqlite3.Error, OSError),
            closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True)) as db,
        ):
            row = db.execute("SELECT digest FROM contents WHERE path = ? AND facts = ?", (key, facts)).fetchone()
            return None if row is None else str(row[0])
        return None

    def _keep(self, key: str, facts: str, digest: str) -> None:
        with suppress(sqlite3.Error, OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=5)) as db, db:
                db.execute(_TABLE)
                db.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", (key, facts, digest))


def _digest(path: Path) -> str:
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return str(state.hexdigest())
