"""JSON: a list of objects, or objects one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.contract import Reading, Row
from orchestrator.corpus.reading.json_values import read_objects


@dataclass(frozen=True)
class Json:
    """A row an object; the current one alone is in memory."""

    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    def rows(self, path: Path, reading: Reading, lost: Lost = refuse) -> Iterator[tuple[int, Row]]:
        """Objects with their number.

        Raises:
            CorpusError: not readable, not JSON.
        """
        return read_objects(path, lost, reading.encoding)
