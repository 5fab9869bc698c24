"""What runs in a trial's process."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.artifacts import Store
from orchestrator.cluster.runner import RayRunner
from orchestrator.config.recipe import Recipe, ResourcesConfig
from orchestrator.errors import TrainingError
from orchestrator.faults import FOLDER, explained
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import Plan, make_plan
from orchestrator.resources import Allocation

_STOPPING_SECONDS = "60"
"""How long the next trial waits for a stopped one to leave its process; Tune's 2 s are shorter than many a step."""


def run_trial(config: Mapping[str, Any], store: Store, allocation: Allocation) -> None:
    """Tune's trainable. Its own errors are sent as events, not raised: Tune would only try again."""
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", _STOPPING_SECONDS)
    name, recipe = str(config["trial"]), Recipe.model_validate_json(config["recipe"])
    alone = in_process(recipe.resources, allocation)
    runner = _Here(recipe.resources, allocation) if alone else RayRunner(recipe.resources, allocation)
    reason, exit_code = "", 0
    try:
        execute(_plan(recipe, store, config["trained"]), runner, [_Sender(name)])
    except Exception as error:
        said = explained(error, f"trial {name}", store.root / FOLDER)
        reason, exit_code = str(said), said.exit_code
    finally:
        runner.close()
    tune.report({"event": "ended", "reason": reason, "exit_code": exit_code})


def _plan(recipe: Recipe, store: Store, trained: Mapping[str, str]) -> Plan:
    """The plan of the trainings (step -> fingerprint) that the driver asks for."""
    plan = make_plan(recipe, store, until=tuple(trained))
    if any(planned.fingerprint != trained.get(planned.name, planned.fingerprint) for planned in plan.steps):
        raise TrainingError("the code or a source changed since the sweep began", fix="type the same command again")
    return plan


def in_process(resources: ResourcesConfig, allocation: Allocation) -> bool:
    """Whether a trial trains in its own process: one worker of plain torch; otherwise on Ray Train."""
    return allocation.workers == 1 and (resources.strategy == "auto" or allocation.strategy.type == "single")


class _Here(LocalRunner):
    """Trains in the trial's process, with the trial's share of the machine; a closed one lets its training stop."""

    def __init__(self, resources: ResourcesConfig, allocation: Allocation) -> None:
        here = {"threads": allocation.threads, "device": allocation.device, "cpus": allocation.threads}
        super().__init__(resources.model_copy(update=here))
        self._closed = threading.Event()

    def close(self) -> None:
        """Stop what still trains, because Tune has ended the trial, and wait until it has stopped."""
        self._closed.set()
        with self._lock:
            super().close()

    def _is_stopped(self, name: str) -> bool:  # noqa: ARG002 (whatever it trains)
        return self._closed.is_set()


@dataclass(frozen=True)
class _Sender:
    """An observer in a trial that sends what it is told to the driver."""

    trial: str

    def started(self, step: str) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._send("started", step)

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """See :class:`orchestrator.tracking.Observer`. A validation ends a message, so that the scheduler sees each."""
        sent: list[Mapping[str, Any]] = []
        for row in rows:
            sent.append(row)
            if "validation_loss" in row:
                self._send("metrics", step, sent, judged_by={key: row[key] for key in ("step", "validation_loss")})
                sent = []
        if sent:
            self._send("metrics", step, sent)

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._send("finished", step, manifest, folder)

    def failed(self, step: str, error: Exception) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._send("failed", step, error)

    def close(self, report: Path | None) -> None:
        """Nothing is left open."""

    def _send(self, event: str, step: str, *arguments: Any, judged_by: Mapping[str, Any] | None = None) -> None:
        name = f"{self.trial}-{step.removeprefix('expert-')}"
        tune.report({"event": event, "arguments": (name, *arguments), **(judged_by or {})})
