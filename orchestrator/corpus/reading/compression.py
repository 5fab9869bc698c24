"""Compressed files as streams of bytes, with a limit on how much may come out of how little."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from orchestrator.errors import CorpusError

RATIO, HARMLESS = 250, 1 << 26
"""Most bytes that may come out of a byte, and the bytes that may come out of any file (64 MiB). Text is compressed to a
tenth; more than this is made to fill memory and disks."""
_BUFFER = 1 << 20


def is_bomb(out: int, size: int) -> bool:
    """Whether more bytes come out of a file than its size allows."""
    return out > max(HARMLESS, RATIO * size)


def bomb(path: Path, otherwise: str) -> CorpusError:
    """The error for such a file; `otherwise`: what to do with it where it is no bomb."""
    what = f"more than {RATIO} times its size comes out of this file, as of an archive bomb"
    return CorpusError(what, where=str(path), fix=f"leave it out, or {otherwise}")


def _zstandard(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    return cast(IO[bytes], pa.CompressedInputStream(file, "zstd"))


_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    ".gz": ("gzip", gzip.GzipFile),
    ".bz2": ("bzip2", bz2.BZ2File),
    ".xz": ("xz", lzma.LZMAFile),
    ".zst": ("Zstandard", _zstandard),
}
COMPRESSIONS = tuple(_READERS)
"""Suffixes of compressed files that are read."""


def compression_of(path: Path) -> str:
    """The suffix that says how a file is compressed; "" where it is not."""
    suffix = path.suffix.lower()
    return suffix if suffix in _READERS else ""


def decompressed(file: IO[bytes], path: Path) -> IO[bytes]:
    """What is inside an open file, by its name; the file itself where the name says no compression."""
    suffix = compression_of(path)
    if not suffix:
        return file
    name, reader = _READERS[suffix]
    inner: Any = gzip.GzipFile(fileobj=file) if suffix == ".gz" else reader(file)
    return cast(IO[bytes], io.BufferedReader(_Checked(inner, path, name), _BUFFER))


class _Checked(io.RawIOBase):
    """Reads from a decompressor; damage and bombs become errors that name the file."""

    def __init__(self, inner: IO[bytes], path: Path, name: str) -> None:
        self._inner, self._path, self._name = inner, path, name
        self._size, self._read = path.stat().st_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """See :class:`io.RawIOBase`.

        Raises:
            CorpusError: damaged compression, or too much comes out.
        """
        import pyarrow as pa

        try:
            data = self._inner.read(len(buffer))
        except (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, OSError) as error:
            if getattr(error, "errno", None) is not None:  # the disk's, not the compression's
                raise
            what = f"its {self._name} compression is damaged: {(str(error).splitlines() or ['it ends too early'])[0]}"
            raise CorpusError(what, where=str(self._path), fix="copy or download the file again") from None
        self._read += len(data)
        if is_bomb(self._read, self._size):
            raise bomb(self._path, "decompress it yourself where you trust it")
        buffer[: len(data)] = data
        return len(data)
