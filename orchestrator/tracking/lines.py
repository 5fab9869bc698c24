"""A run's events as plain lines: for logs and notebooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import StoppedEarlyError
from orchestrator.tracking.observer import Observer

_LINE_SECONDS = 10.0


def described(row: Mapping[str, Any]) -> str:
    """The figures of a metrics row as short text."""
    parts = []
    for key, label, pattern in (
        ("loss", "loss", "{:.3f}"),
        ("validation_loss", "validation", "{:.3f}"),
        ("tokens_per_second", "tokens/s", "{:,.0f}"),
    ):
        if isinstance(row.get(key), int | float):
            parts.append(f"{label} {pattern.format(row[key])}")
    return ", ".join(parts)


def progress(row: Mapping[str, Any]) -> str:
    """A metrics row as the text of a line; "": it has no figures of a step."""
    return f"{row['step']}/{row['steps']} {described(row)}".rstrip() if "step" in row and "steps" in row else ""


def done(manifest: Mapping[str, Any], folder: Path) -> str:
    """What is said of a step that is done."""
    return f"done in {manifest['seconds']:.0f} s: {folder}"


def ended(error: Exception) -> str:
    """How a step ended that did not finish."""
    return error.what if isinstance(error, StoppedEarlyError) else f"failed: {error}"


@dataclass
class LogLines(Observer):
    """Plain lines: a step's begin and end, its messages, and its state every ten seconds."""

    start: float = field(default_factory=time.monotonic)
    last: dict[str, float] = field(default_factory=dict)

    def started(self, step: str) -> None:
        """Say so."""
        self._line(step, "started")

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print messages, and the newest figures unless some were printed a moment ago."""
        for row in rows:
            if "message" in row:
                self._line(step, str(row["message"]))
        figures = [text for row in rows if (text := progress(row))]
        if figures and time.monotonic() - self.last.get(step, -_LINE_SECONDS) >= _LINE_SECONDS:
            self.last[step] = time.monotonic()
            self._line(step, figures[-1])

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """Say how long it took and where the result is."""
        self._line(step, done(manifest, folder))

    def failed(self, step: str, error: Exception) -> None:
        """Say why."""
        self._line(step, ended(error))

    def _line(self, step: str, text: str) -> None:
        print(f"[{time.monotonic() - self.start:6.1f} s] {step}: {text}", file=sys.stdout, flush=True)


class Silent(Observer):
    """An observer that says nothing."""
