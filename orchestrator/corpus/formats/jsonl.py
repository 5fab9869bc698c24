"""JSON lines: an object a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.contract import Reading, Row
from orchestrator.corpus.reading.json_values import read_json_lines


@dataclass(frozen=True)
class Jsonl:
    """A row a line that is not empty."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    def rows(self, path: Path, reading: Reading, lost: Lost = refuse) -> Iterator[tuple[int, Row]]:
        """Objects with their line's number.

        Raises:
            CorpusError: not readable, or a line that is not JSON.
        """
        return read_json_lines(path, lost, reading.encoding)
