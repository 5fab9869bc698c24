"""Reading local files for sources: identity, opening, and errors that name the file and the place."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from orchestrator.artifacts import digest
from orchestrator.contents import content_digests
from orchestrator.corpus.sources._kinds import HEAD, check_kind
from orchestrator.errors import CorpusError


def files_fingerprint(paths: Sequence[Path]) -> str:
    """Identity of sorted files: their names and content, wherever they lie and whenever they were copied there.

    Raises:
        CorpusError: a file can't be read.
    """
    with readable(paths[0].parent):
        contents = content_digests(paths)
    return digest(list(zip(short_names(paths), contents, strict=True)))


def short_names(paths: Sequence[Path]) -> list[str]:
    """Sorted paths from the folder that all of them share, so that nothing depends on where that folder lies."""
    root = os.path.commonpath([paths[0].parent, paths[-1].parent])  # what the first and the last share, all share
    return [written(path.relative_to(root).as_posix()) for path in paths]


def written(name: str) -> str:
    r"""A file's name as text: bytes of it that are not UTF-8, which no JSON or Parquet holds, as ``\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


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
