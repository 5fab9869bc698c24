"""Parquet, whatever its types of text are: strings, large strings, dictionaries, bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.contract import Reading, Row
from orchestrator.corpus.reading.tables import read_parquet


@dataclass(frozen=True)
class Parquet:
    """A document a row; the columns of use alone are read."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)

    def rows(self, path: Path, reading: Reading, lost: Lost = refuse) -> Iterator[tuple[int, Row]]:
        """Rows with their number.

        Raises:
            CorpusError: not readable, truncated, encrypted, not Parquet.
        """
        return read_parquet(path, reading.columns or None, lost, reading.needed)
