"""Who is told of a run's events, and what they know of it before."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class Observer(Protocol):
    """Told of a run's events, one at a time, from one thread. Returns at once and raises nothing.

    Who derives from it hears only of the events that it has a method for.
    """

    def started(self, step: str) -> None:
        """A step begins."""
        return

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that a step appended to its metrics: "step" of "steps", values by name, "message" to print."""
        return

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """A step's artifact is published."""
        return

    def failed(self, step: str, error: Exception) -> None:
        """A step ended with an error."""
        return

    def close(self, report: Path | None) -> None:
        """The run is over; `report` is the report's folder where there is one."""
        return


@dataclass(frozen=True)
class RunFacts:
    """What a tracker knows of a run before it begins.

    Attributes:
        name: of the run.
        folder: its folder.
        experiment: that it belongs to.
        parameters: the recipe without what changes no result; a run with the same ones goes on where it stopped.
        fingerprints, configs: of each step, by its name.
        made: artifacts of steps that are there.
        began: when, in seconds since 1970.
    """

    name: str
    folder: Path
    experiment: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    made: Mapping[str, Path] = field(default_factory=dict)
    began: float = field(default_factory=time.time)


STATE = "tracking.json"
"""What a tracker keeps in a run's folder."""


def is_unfinished(folder: Path) -> bool:
    """Whether a tracker has not been told of all that happened in a run, as far as the run's folder says."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and state.get("closed") is False
