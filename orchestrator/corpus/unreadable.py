"""Rows of a source that are no documents: counted up to the recipe's limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.corpus.document import BadFileError, Document
from orchestrator.corpus.reading.files import written
from orchestrator.errors import CorpusError

_ENOUGH = 100
"""Rows without a document between them, from the first on, that say that none will come."""


class Unreadable:
    """Counts what it is called with: the :data:`~orchestrator.corpus.document.Lost` of a build.

    Attributes:
        rows: so far.
        files: that were left out from some place on, whose source says how many may be.
    """

    def __init__(self, limit: float) -> None:
        """`limit`: rows that may be left out, as a number (int) or a share of all (float)."""
        self._limit, self.rows, self._read = limit, 0, 0
        self._first: CorpusError | None = None
        self.files: list[CorpusError] = []

    def __call__(self, error: CorpusError) -> None:
        """Count a row, or a file.

        Raises:
            CorpusError: there are too many of them, whatever follows.
        """
        if isinstance(error, BadFileError):
            self.files.append(error)
            return
        self.rows += 1
        self._first = self._first or error
        hopeless = not self._read and self.rows >= _ENOUGH and self._limit < 1
        if hopeless or (isinstance(self._limit, int) and self.rows > self._limit):
            raise self._too_many(self._first)

    def counted(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents, whose number the share is of.

        Raises:
            CorpusError: at their end, when more rows were left out than the limit allows.
        """
        for document in documents:
            self._read += 1
            yield document
        if self._first is not None and isinstance(self._limit, float) and self.rows > self._limit * self._all:
            raise self._too_many(self._first)

    def added_to(self, told: dict[str, Any]) -> dict[str, Any]:
        """What corpus.json says: "rows", and "first", why the first one is none; "files", why each was left out."""
        if self.files:
            told = {**told, "files": [*told.get("files", ()), *map(_reason, self.files)]}
        if self._first is None:
            return told
        return {**told, "rows": told["rows"] + self.rows, "first": told.get("first", _reason(self._first))}

    @property
    def _all(self) -> int:
        return self.rows + self._read

    def _too_many(self, first: CorpusError) -> CorpusError:
        if not self._read:
            return first
        allowed = f"{self._limit:,}" if isinstance(self._limit, int) else f"{self._limit:.3g} of all"
        return CorpusError(
            f"{self.rows:,} of {self._all:,} rows hold no text that can be read, more than corpus.unreadable_rows "
            f"allows ({allowed}); the first: {first.what}",
            where=first.where,
            fix=f"{first.fix}; or set corpus.unreadable_rows higher",
        )


def _reason(error: CorpusError) -> str:
    place = error.where.replace("\\", "/").rpartition("/")[2]  # the same wherever the files lie
    return f"{written(place)}: {error.what}"
