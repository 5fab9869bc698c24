"""Where a run's events go: trackers and progress displays observe the steps; they never change or stop them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

_say = partial(print, flush=True)


class Observer(Protocol):
    """Told of a run's events, one at a time, from one thread. Returns at once and raises nothing."""

    def started(self, step: str) -> None:
        """A step begins."""

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that a step appended to its metrics: "step" of "steps", values by name, "message" to print."""

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """A step's artifact is published."""

    def failed(self, step: str, error: Exception) -> None:
        """A step ended with an error."""

    def close(self, report: Path | None) -> None:
        """The run is over; `report` is the report's folder where there is one."""


@dataclass(frozen=True)
class RunFacts:
    """What a tracker knows of a run before it begins.

    Attributes:
        name: of the run. folder: its folder. experiment: that it belongs to.
        parameters: the recipe without what changes no result; a run with the same ones goes on where it stopped.
        fingerprints, configs: of each step, by its name.
    """

    name: str
    folder: Path
    experiment: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def mlflow_tracker(facts: RunFacts, uri: str | None = None, say: Callable[[str], None] = _say) -> Observer | None:
    """A tracker that writes to MLflow from a thread of its own, or None, with a line that says so, without MLflow.

    Args:
        facts: the run.
        uri: the store; None: MLFLOW_TRACKING_URI, or a SQLite file in the run's folder where that is not set.
        say: takes a line for the person who watches the run.
    """
    if importlib.util.find_spec("mlflow") is None:
        say("tracking: MLflow is not installed, so nothing is tracked (pip install 'mome-orchestrator[cluster]')")
        return None
    from orchestrator.tracking.background import Background
    from orchestrator.tracking.mlflow import MlflowRun
    from orchestrator.tracking.store import DATABASE, local_store, masked, without_secrets

    given = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    where = masked(given) if given else str(facts.folder / DATABASE)
    return Background(
        lambda: MlflowRun(given or local_store(facts.folder), facts),
        where,
        say,
        hide=lambda text: without_secrets(text, given),
    )
