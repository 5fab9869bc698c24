"""Arrow files and streams: Feather, and what the package datasets saves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.contract import Reading, Row
from orchestrator.corpus.reading.tables import read_arrow


@dataclass(frozen=True)
class Arrow:
    """A document a row. Of a folder that ``Dataset.save_to_disk`` wrote, the data are read and the records left."""

    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".feather")

    def rows(self, path: Path, reading: Reading, lost: Lost = refuse) -> Iterator[tuple[int, Row]]:
        """Rows with their number.

        Raises:
            CorpusError: not readable, truncated, not Arrow.
        """
        return read_arrow(path, reading.columns or None, lost, reading.needed)
