"""What a run's folder says of the steps at work: ``steps.jsonl``, a row for each event, for whoever looks from outside.

::

    {"step": "expert-en", "folder": "stages/expert-en/0123456789abcdef"}   planned; its artifact will be there
    {"step": "expert-en", "began": "2026-01-31T12:00:00+00:00"}
    {"step": "expert-en", "failed": "…"}

The file is of the latest plan that something was missing of. A later plan begins it anew; a plan that grows adds rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.disk import disk_errors
from orchestrator.errors import StoppedEarlyError
from orchestrator.pipeline.following import Follower
from orchestrator.tracking.observer import Observer

JOURNAL = "steps.jsonl"


@dataclass
class Journal(Observer):
    """Writes the journal of a plan; an observer of its run. For the holder of the run's lock."""

    root: Path
    _begun: bool = False

    def plan(self, folders: Mapping[str, Path]) -> None:
        """Note steps that are wanted, with the folders that their artifacts are in or will be; the first call begins
        the file.

        Raises:
            ResourceError: no space left, or no leave to write.
        """
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            places = {name: Path(os.path.relpath(folder, self.root)).as_posix() for name, folder in folders.items()}
            self._write([{"step": name, "folder": place} for name, place in places.items()])

    def started(self, step: str) -> None:
        """Note when."""
        self._add(step, began=datetime.now(UTC).isoformat(timespec="seconds"))

    def failed(self, step: str, error: Exception) -> None:
        """Note why, unless the step was only stopped."""
        if not isinstance(error, StoppedEarlyError):
            self._add(step, failed=str(error).strip().partition("\n")[0] or type(error).__name__)

    def _add(self, step: str, **facts: str) -> None:
        with suppress(OSError):  # nothing of the run rests on these rows
            self._write([{"step": step, **facts}])

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with (self.root / JOURNAL).open("a" if self._begun else "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._begun = True


@dataclass
class Noted:
    """A step of a journal.

    Attributes:
        folder: of its artifact, relative to the run's.
        began: when, UTC; "": it has not.
        failed: why; "": it has not.
    """

    folder: str
    began: str = ""
    failed: str = ""


@dataclass
class JournalReader:
    """Reads a run's journal as it grows; :attr:`steps` by name."""

    root: Path
    steps: dict[str, Noted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._follower = Follower(self.root / JOURNAL)

    def read(self) -> dict[str, Noted]:
        """The steps as they are now; empty where there is no journal."""
        for row in self._follower.read():
            name = str(row.get("step", ""))
            if "folder" in row:
                self.steps[name] = Noted(str(row["folder"]))
            elif name in self.steps:
                self.steps[name].began = str(row.get("began", self.steps[name].began))
                self.steps[name].failed = str(row.get("failed", self.steps[name].failed))
        return self.steps
