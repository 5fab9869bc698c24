"""What a step appends to its metrics, read by the process that started it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Follower:
    """Reads what was appended to a metrics file since the last look."""

    path: Path
    offset: int = 0

    def read(self) -> list[dict[str, Any]]:
        """The rows of whole lines not seen before."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        # A resumed training cuts rows later than its checkpoint: go back to the beginning of a line that is there.
        self.offset = data.rfind(b"\n", 0, min(self.offset, len(data))) + 1
        complete, newline, _ = data[self.offset :].rpartition(b"\n")
        self.offset += len(complete) + len(newline)
        return [row for line in complete.splitlines() if isinstance(row := _parsed(line), dict)]


def _parsed(line: bytes) -> Any:
    """A line's value; None where a killed attempt left half of it."""
    try:
        return json.loads(line)
    except ValueError:
        return None
