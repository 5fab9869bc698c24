"""How a run shows itself: live bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from orchestrator.errors import StoppedEarlyError

_LINE_SECONDS = 10.0


def progress_display(console: Console | None = None) -> TerminalProgress | LogProgress:
    """The display that fits where the output goes."""
    console = console or Console(stderr=False)
    return TerminalProgress(console) if console.is_terminal else LogProgress()


def describe(row: Mapping[str, Any]) -> str:
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


@dataclass
class TerminalProgress:
    """A bar a step, with loss, tokens/s and the time left."""

    console: Console
    bars: dict[str, TaskID] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = (
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console)
        self.progress.start()

    def started(self, step: str) -> None:
        """Add the step's bar."""
        self.bars[step] = self.progress.add_task(step, total=None, note="starting")

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Move the bar; print messages above the bars."""
        for row in rows:
            if "message" in row:
                self.progress.console.print(f"{step}: {row['message']}", highlight=False, markup=False)
            update: dict[str, Any] = {}
            if "step" in row:
                update["completed"] = row["step"]
            if "steps" in row:
                update["total"] = row["steps"]
            if note := describe(row):
                update["note"] = note
            self.progress.update(self.bars[step], **update)

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:  # noqa: ARG002 (an Observer's signature)
        """Fill the bar."""
        self.progress.update(self.bars[step], total=1, completed=1, note=f"done in {manifest['seconds']:.0f} s")

    def failed(self, step: str, error: Exception) -> None:
        """Say why."""
        style = "yellow" if isinstance(error, StoppedEarlyError) else "red"
        self.progress.console.print(f"{step}: {_how(error)}", style=style, markup=False, soft_wrap=True)

    def close(self, report: Path | None) -> None:  # noqa: ARG002
        """Leave the last state on the screen."""
        self.progress.stop()


@dataclass
class LogProgress:
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
        figures = [row for row in rows if "step" in row and "steps" in row]
        if figures and time.monotonic() - self.last.get(step, -_LINE_SECONDS) >= _LINE_SECONDS:
            self.last[step] = time.monotonic()
            row = figures[-1]
            self._line(step, f"{row['step']}/{row['steps']} {describe(row)}")

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """Say how long it took and where the result is."""
        self._line(step, f"done in {manifest['seconds']:.0f} s: {folder}")

    def failed(self, step: str, error: Exception) -> None:
        """Say why."""
        self._line(step, _how(error))

    def close(self, report: Path | None) -> None:
        """Nothing is left open."""

    def _line(self, step: str, text: str) -> None:
        print(f"[{time.monotonic() - self.start:6.1f} s] {step}: {text}", file=sys.stdout, flush=True)


def _how(error: Exception) -> str:
    """How a step ended that did not finish."""
    return error.what if isinstance(error, StoppedEarlyError) else f"failed: {error}"
