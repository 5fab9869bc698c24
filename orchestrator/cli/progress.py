"""How a run shows itself: live bars on a terminal, plain lines in a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from orchestrator.errors import StoppedEarlyError
from orchestrator.tracking.lines import LogLines, described, ended


def progress_display(console: Console | None = None) -> TerminalProgress | LogLines:
    """The display that fits where the output goes."""
    console = console or Console(stderr=False)
    return TerminalProgress(console) if console.is_terminal else LogLines()


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

    def started(self, step: str) -> None:
        """Add the step's bar; the first one begins the display."""
        self.progress.start()
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
            if note := described(row):
                update["note"] = note
            self.progress.update(self.bars[step], **update)

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:  # noqa: ARG002 (an Observer's signature)
        """Fill the bar."""
        self.progress.update(self.bars[step], total=1, completed=1, note=f"done in {manifest['seconds']:.0f} s")

    def failed(self, step: str, error: Exception) -> None:
        """Say why."""
        style = "yellow" if isinstance(error, StoppedEarlyError) else "red"
        self.progress.console.print(f"{step}: {ended(error)}", style=style, markup=False, soft_wrap=True)

    def close(self, report: Path | None) -> None:  # noqa: ARG002
        """Leave the last state on the screen."""
        self.progress.stop()
