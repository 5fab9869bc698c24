"""Reading local files for sources: identity, opening, and errors that name the file and the place."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import xxhash

from orchestrator.corpus.sources._kinds import HEAD, check_kind
from orchestrator.errors import CorpusError

_HASHED_BYTES = 64 << 20
"""Files that are together larger than this are told apart by size and time of change."""


def files_fingerprint(paths: Sequence[Path]) -> str:
    """Identity of sorted files: their names and content, wherever they lie and whenever they were copied there.

    Of more than 64 MiB the content is not read: size and time of change stand for it.

    Raises:
        CorpusError: a file can't be read.
    """
    identity = xxhash.xxh3_128()
    with readable(paths[0].parent):
        facts = [path.stat() for path in paths]
    small = sum(fact.st_size for fact in facts) <= _HASHED_BYTES
    for name, path, fact in zip(short_names(paths), paths, facts, strict=True):
        content = xxhash.xxh3_128_hexdigest(read_bytes(path)) if small else str(fact.st_mtime_ns)
        identity.update(json.dumps([name, fact.st_size, content]).encode())
    return str(identity.hexdigest())


def short_names(paths: Sequence[Path]) -> list[str]:
    """Sorted paths from the folder that all of them share, so that nothing depends on where that folder lies."""
    root = os.path.commonpath([paths[0].parent, paths[-1].parent])  # what the first and the last share, all share
    return [path.relative_to(root).as_posix() for path in paths]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Around reading a file: what the file system refuses becomes an error that names the file.

    Raises:
        CorpusError: no permission, no file, a broken disk, damaged compression.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"its gzip compression is damaged: {error}", where=str(path), fix="copy or download the file again"
        ) from None
    except OSError as error:
        raise CorpusError(
            f"can't be read: {error.strerror or error}",
            where=str(error.filename or path),
            fix="check that it is there and that you may read it",
        ) from None


@contextmanager
def opened(path: Path, *, unicode: bool = False) -> Iterator[IO[bytes]]:
    """A file of text as bytes, decompressed where its name ends in ``.gz``; `unicode`: it may be in UTF-16 (XML may).

    Raises:
        CorpusError: it can't be read, or its first bytes are those of another kind of file.
    """
    with readable(path), path.open("rb") as raw:
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if path.suffix.lower() == ".gz" else raw
        check_kind(path, file.read(HEAD), unicode=unicode)
        file.seek(0)
        yield file


def read_bytes(path: Path) -> bytes:
    """A whole file as it is.

    Raises:
        CorpusError: it can't be read.
    """
    with readable(path):
        return path.read_bytes()


def read_text(path: Path) -> str:
    """A whole UTF-8 file.

    Raises:
        CorpusError: not readable, or not UTF-8, with the line and byte.
    """
    with opened(path) as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise not_utf8(path, line, error.start) from None


def not_utf8(path: Path, line: int, byte: int) -> CorpusError:
    """The error for a file in another encoding; `line` from 1, `byte` from 0."""
    return CorpusError(
        "the file is not UTF-8",
        where=f"{path}, line {line}, byte {byte}",
        fix="convert it, from Windows-1252 for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
    )
