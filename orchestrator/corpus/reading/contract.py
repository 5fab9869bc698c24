"""What a format of files is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.encodings import UTF8

Row = dict[str, Any]
Document = Literal["file", "paragraph", "line"]
WHOLE = 0
"""Number of the one document of a file that has no rows."""


@dataclass(frozen=True)
class Reading:
    """How a source wants its files read.

    Attributes:
        encoding: what text is written in.
        document: what of a plain text is a document.
        columns: fields of a row that are of use; (): all. A format may read others too.
        needed: fields of which a row has one at least.
    """

    encoding: str = UTF8
    document: Document = "file"
    columns: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


class Format(Protocol):
    """The contract of a plug-in in ``corpus.formats``: a frozen dataclass that turns a file into rows.

    Class attributes:
        suffixes: endings of its files, lower case with the dot, without those of compressions.
    """

    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def rows(self, path: Path, reading: Reading, lost: Lost = refuse) -> Iterator[tuple[int, Row | str]]:
        """The rows of a file in their order, the same at every call, with a bounded part of it in memory.

        Args:
            path: the file; its name may say that it is compressed.
            reading: how to read it.
            lost: told of rows that are none.

        Yields:
            The number from 1 by which people find it in the file, and a row's fields or a text; WHOLE with a text:
            the file is one document.

        Raises:
            CorpusError: not readable, damaged, of another kind.
        """
        ...
