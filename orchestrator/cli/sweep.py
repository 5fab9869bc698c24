"""`mome sweep`: the trials as a live table on a terminal, as plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from orchestrator import api
from orchestrator.api.running import Wanted
from orchestrator.api.sweeping import sweep_plan
from orchestrator.cli.plan import show_plan
from orchestrator.errors import StoppedEarlyError
from orchestrator.sweeps.trials import PlannedTrial
from orchestrator.tracking import Observer

_STATUS = {
    "running": "cyan",
    "failed": "red",
    "stopped": "yellow",
    "waiting": "dim",
    "finished": "green",
}
"""Colours, in the order in which a live table shows its rows: what does not fit on the screen is cut off below."""


def sweep(
    file: Path,
    overrides: Sequence[str],
    runs: Path,
    *,
    force: Sequence[str] = (),
    strict: bool = False,
    accept: bool = False,
    local: bool = False,
) -> Path:
    """Run a sweep under the terminal's eyes. Returns the folder of the report.

    Raises:
        MomeError: see :func:`orchestrator.api.sweep`.
    """
    options = {"strict": strict, "accept": accept, "local": local}
    return api.sweep(file, *overrides, runs=runs, force=force, display=sweep_display, **options)


def print_sweep_plan(
    file: Path,
    overrides: Sequence[str],
    runs: Path,
    *,
    force: Sequence[str] = (),
    strict: bool = False,
    local: bool = False,
    cluster: Path | None = None,
) -> None:
    """Print the steps of all trials that are known, and what those that are missing are expected to cost.

    Raises:
        MomeError: the sweep can't work.
    """
    plan, notes = sweep_plan(file, overrides, runs, Wanted.of((), force, strict), local, cluster)
    show_plan(plan)
    for line in notes:
        print(line)


def sweep_display(trials: Mapping[str, PlannedTrial], console: Console | None = None) -> Observer:
    """The display that fits where the output goes; `trials` by event name, more of them as time goes on."""
    console = console or Console()
    return TrialTable(trials, console) if console.is_terminal else TrialLines(trials)


@dataclass
class _Progress:
    """What is known of one training, or of a step before the trials."""

    status: str = "waiting"
    begun: float = 0.0
    ended: float | None = None
    row: dict[str, Any] = field(default_factory=dict)  # the newest value of everything logged

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.begun if self.begun else 0.0


class TrialTable:
    """An observer: a row a training, with its configuration, seed, progress, loss, speed, time and status."""

    def __init__(self, trials: Mapping[str, PlannedTrial], console: Console) -> None:
        self._trials, self._console = trials, console
        self._progress: dict[str, _Progress] = {}
        self._live = Live(get_renderable=self.table, console=console, refresh_per_second=2)
        self._live.start()

    def started(self, step: str) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._progress[step] = _Progress("running", time.monotonic())

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """See :class:`orchestrator.tracking.Observer`. Messages are printed above the table."""
        for row in rows:
            if "message" in row:
                self._console.print(f"{step}: {row['message']}", highlight=False, markup=False)
            self._progress[step].row.update(row)

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:  # noqa: ARG002 (an Observer's)
        """See :class:`orchestrator.tracking.Observer`."""
        self._end(step, "finished")

    def failed(self, step: str, error: Exception) -> None:
        """See :class:`orchestrator.tracking.Observer`. The reason is printed above the table."""
        stopped = isinstance(error, StoppedEarlyError)
        self._end(step, "stopped" if stopped else "failed")
        told, style = (error.what, None) if isinstance(error, StoppedEarlyError) else (error, "red")
        self._console.print(f"{step}: {told}", style=style, highlight=False, markup=False)

    def close(self, report: Path | None) -> None:  # noqa: ARG002
        """Leave the whole table on the screen."""
        self._live.vertical_overflow = "visible"
        self._live.stop()

    def table(self) -> Table:
        """The trials as they are now, those at work first."""
        progress = {**{name: _Progress() for name in self._trials}, **self._progress}
        ended = sum(each.ended is not None for name, each in progress.items() if name in self._trials)
        table = Table(title=f"{ended} of {len(self._trials)} trainings", title_justify="left")
        for heading in ("trial", "configuration", "seed", "step", "validation loss", "tokens/s", "time", "status"):
            words = heading in ("trial", "configuration", "status")
            table.add_column(heading, justify="left" if words else "right", overflow="fold")
        order = list(_STATUS)
        for name in sorted(progress, key=lambda name: order.index(progress[name].status)):
            table.add_row(*self._cells(name, progress[name]), style=_STATUS[progress[name].status])
        return table

    def _cells(self, name: str, progress: _Progress) -> tuple[str, ...]:
        trial, row = self._trials.get(name), progress.row
        return (
            name,
            trial.configuration.name if trial else "",
            str(trial.seed) if trial else "",
            f"{row['step']}/{row['steps']}" if "steps" in row else "",
            f"{row['validation_loss']:.4f}" if "validation_loss" in row else "",
            f"{row['tokens_per_second']:,.0f}" if "tokens_per_second" in row else "",
            f"{progress.seconds:.0f} s" if progress.begun else "",
            progress.status,
        )

    def _end(self, step: str, status: str) -> None:
        self._progress.setdefault(step, _Progress()).status = status
        self._progress[step].ended = time.monotonic()


@dataclass
class TrialLines(Observer):
    """An observer: a line for each beginning, validation and end."""

    trials: Mapping[str, PlannedTrial]
    begun: dict[str, float] = field(default_factory=dict)

    def started(self, step: str) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self.begun[step] = time.monotonic()
        trial = self.trials.get(step)
        _say(f"{step}: started" + (f", {trial.configuration.name}, seed {trial.seed}" if trial else ""))

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        for row in rows:
            if "message" in row:
                _say(f"{step}: {row['message']}")
            if "validation_loss" in row:
                _say(f"{step}: step {row['step']}/{row['steps']}, validation loss {row['validation_loss']:.4f}")

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:  # noqa: ARG002 (an Observer's)
        """See :class:`orchestrator.tracking.Observer`."""
        _say(f"{step}: done in {time.monotonic() - self.begun[step]:.0f} s")

    def failed(self, step: str, error: Exception) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        _say(f"{step}: {error.what}" if isinstance(error, StoppedEarlyError) else f"{step}: failed: {error}")


def _say(line: str) -> None:
    print(line, flush=True)
