"""Where a run's events go: trackers and progress displays observe the steps; they never change or stop them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import partial

from orchestrator.tracking.observer import Observer as Observer
from orchestrator.tracking.observer import RunFacts as RunFacts
from orchestrator.tracking.observer import is_unfinished as is_unfinished

_say = partial(print, flush=True)


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
