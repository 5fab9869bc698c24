"""Text in other encodings than UTF-8: said in the recipe, never guessed."""

from __future__ import annotations

import codecs
import io
from typing import IO, Annotated, Any

from pydantic import AfterValidator

from orchestrator.errors import CorpusError

UTF8 = "utf-8"
_CHUNK = 1 << 16


def _known(name: str) -> str:
    try:
        found = codecs.lookup(name)
    except LookupError:
        raise ValueError(f"there is no encoding {name!r}; some are windows-1252, gb18030, utf-16") from None
    if not found._is_text_encoding:
        raise ValueError(f"{name!r} is no encoding of text")
    return UTF8 if found.name == "utf-8-sig" else found.name


Encoding = Annotated[str, AfterValidator(_known)]
"""Name of an encoding that Python knows; kept by Python's own name for it."""


class Recoded(io.RawIOBase):
    """Bytes of a text in some encoding, read as UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str, where: str) -> None:
        self._file, self._name, self._where = file, encoding, where
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._waiting, self._read, self._done = b"", 0, False

    def readable(self) -> bool:  # noqa: D102
        return True

    def readinto(self, buffer: Any) -> int:
        """See :class:`io.RawIOBase`.

        Raises:
            CorpusError: the bytes are not of that encoding.
        """
        while not self._waiting and not self._done:
            data = self._file.read(_CHUNK)
            self._done = not data
            try:
                self._waiting = self._decoder.decode(data, final=self._done).encode()
            except UnicodeError as error:
                place = self._read + getattr(error, "start", 0)
                raise CorpusError(
                    f"the file is not in the encoding {self._name}",
                    where=f"{self._where}, near byte {place}",
                    fix="give the source the encoding that the file was written in (`encoding`), or leave the file out",
                ) from None
            self._read += len(data)
        count = min(len(buffer), len(self._waiting))
        buffer[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count
