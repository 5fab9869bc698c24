"""Reading local files for sources: identity, opening, and errors that name the file and the place."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

from orchestrator.artifacts import digest
from orchestrator.contents import content_digests
from orchestrator.corpus.reading.compression import compression_of, decompressed
from orchestrator.corpus.reading.encodings import UTF8, Recoded
from orchestrator.corpus.reading.kinds import HEAD, check_kind
from orchestrator.errors import CorpusError

LARGEST = 1 << 30
"""Bytes of the longest line and of the largest document: what stands in memory at once."""
_PIECE = 1 << 20
_UNICODE = ("utf-16", "utf-32")


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
        CorpusError: no permission, no file, a broken disk.
    """
    try:
        yield
    except OSError as error:
        raise CorpusError(
            f"can't be read: {error.strerror or error}",
            where=str(error.filename or path),
            fix="check that it is there and that you may read it",
        ) from None


@contextmanager
def opened(path: Path, *, encoding: str = UTF8, unicode: bool = False) -> Iterator[IO[bytes]]:
    """A file of text as bytes in UTF-8, decompressed where its name says how it is compressed.

    Args:
        path: the file.
        encoding: what it is written in; other than UTF-8 it is recoded as it is read.
        unicode: it may be in UTF-16 all the same, and is left so (XML says itself what it is in).

    Raises:
        CorpusError: it can't be read, or its first bytes are those of another kind of file.
    """
    with readable(path), path.open("rb") as raw:
        file = _peekable(decompressed(raw, path))
        if not encoding.startswith(_UNICODE):
            check_kind(path, file.peek(HEAD)[:HEAD], unicode=unicode or encoding != UTF8)
        if encoding != UTF8:
            file = io.BufferedReader(Recoded(cast(IO[bytes], file), encoding, str(path)))
        yield cast(IO[bytes], file)


def _peekable(file: IO[bytes]) -> io.BufferedReader:
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file))


@contextmanager
def seekable(path: Path) -> Iterator[IO[bytes]]:
    """A file that is read in any order; a compressed one is laid decompressed into the temporary folder meanwhile.

    Raises:
        CorpusError: it can't be read.
    """
    with readable(path):
        raw = path.open("rb")
    with raw:
        if not compression_of(path):
            yield raw
            return
        with tempfile.TemporaryFile() as copy:
            with readable(path):
                shutil.copyfileobj(decompressed(raw, path), copy, _PIECE)
            copy.seek(0)
            yield copy


def lines_of(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends.

    Raises:
        CorpusError: a line is longer than LARGEST.
    """
    for number, line in enumerate(iter(partial(file.readline, LARGEST + 1), b""), start=1):
        if len(line) > LARGEST:
            raise _too_large(f"{path}, line {number}", "the line", "break it into lines")
        yield line


def read_bytes(path: Path) -> bytes:
    """A whole file as it is.

    Raises:
        CorpusError: it can't be read.
    """
    with readable(path):
        return path.read_bytes()


def read_text(path: Path, encoding: str = UTF8) -> str:
    """A whole file.

    Raises:
        CorpusError: not readable, not in its encoding (of UTF-8 with the line and byte), larger than LARGEST.
    """
    data = bytearray()
    with opened(path, encoding=encoding) as file:
        while piece := file.read(_PIECE):
            data += piece
            if len(data) > LARGEST:
                fix = "read it with `document: line` or `paragraph`"
                raise _too_large(str(path), "the file, which is one document,", fix)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise not_utf8(path, line, error.start) from None


def _too_large(where: str, what: str, fix: str) -> CorpusError:
    return CorpusError(f"{what} has more than {LARGEST:,} bytes", where=where, fix=fix)


def not_utf8(path: Path, line: int, byte: int) -> CorpusError:
    """The error for a file in another encoding; `line` from 1, `byte` from 0."""
    return CorpusError(
        "the file is not UTF-8",
        where=f"{path}, line {line}, byte {byte}",
        fix="say what it is in (the option `encoding` of `files`: windows-1252, for example), or convert it: "
        "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
    )
