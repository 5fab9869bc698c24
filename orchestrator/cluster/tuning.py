"""Trials on Ray Tune: each runs its experts in a process of its own and sends its events to the driver's observers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.artifacts import Store
from orchestrator.cluster.allocation import Allocation
from orchestrator.cluster.errors import translate
from orchestrator.cluster.runner import RayRunner
from orchestrator.config.recipe import Recipe
from orchestrator.errors import MomeError
from orchestrator.pipeline.execute import Runner, execute
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import make_plan
from orchestrator.tracking import Observer

# Tune's own log files, progress tables and ways with Ctrl-C would stand beside ours.
_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Trials:
    """What to run.

    Attributes:
        recipes: of each trial, by its name. experts: steps that each runs. store: where all of them publish.
        allocation: what each gets.
    """

    recipes: Mapping[str, Recipe]
    experts: Sequence[str]
    store: Store
    allocation: Allocation


def run_trials(trials: Trials, max_failures: int, observers: Sequence[Observer]) -> dict[str, str]:
    """Run every trial, as many at a time as there are slots; the reasons of those that failed, by name.

    Observers are told of each trial's training under the name "<trial>-<language>".
    """
    os.environ.update(_SETTINGS)
    folder = trials.store.root / "tune"
    shutil.rmtree(folder, ignore_errors=True)
    allocation, events = trials.allocation, _Events(observers)
    share = {"CPU": allocation.cpus_per_worker, "GPU": allocation.gpus_per_worker}
    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(run_trial, trials=trials),
            share if allocation.workers == 1 else {"CPU": 0.001},  # with several workers, the trial only waits for them
        ),
        param_space={"trial": tune.grid_search(list(trials.recipes))},
        tune_config=tune.TuneConfig(max_concurrent_trials=allocation.slots),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(folder),
            callbacks=[events],
            failure_config=tune.FailureConfig(max_failures=max_failures),
            verbose=0,
        ),
    ).fit()
    shutil.rmtree(folder, ignore_errors=True)
    return events.failures


def run_trial(config: Mapping[str, Any], trials: Trials) -> None:
    """Tune's trainable. What a person can mend is sent as an event, not raised: Tune would only try it again."""
    name, recipe = str(config["trial"]), trials.recipes[config["trial"]]
    runner = _runner(recipe, trials.allocation)
    try:
        execute(make_plan(recipe, trials.store, until=trials.experts), runner, [_Sender(name)])
    except MomeError as error:
        tune.report({"event": "trial_failed", "arguments": (name, str(error))})
    finally:
        runner.close()


def _runner(recipe: Recipe, allocation: Allocation) -> Runner:
    """The trial's own process where one worker of plain torch will do, otherwise Ray Train."""
    resources = recipe.resources
    if allocation.workers == 1 and (resources.strategy == "auto" or allocation.strategy.type == "single"):
        here = {"threads": allocation.threads, "device": allocation.device, "cpus": allocation.threads}
        return LocalRunner(resources.model_copy(update=here))
    return RayRunner(resources, allocation)


@dataclass(frozen=True)
class _Sender:
    """An observer in a trial that sends what it is told to the driver."""

    trial: str

    def started(self, step: str) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._send("started", step)

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._send("metrics", step, rows)

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._send("finished", step, manifest, folder)

    def failed(self, step: str, error: Exception) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        self._send("failed", step, error)

    def close(self, report: Path | None) -> None:
        """Nothing is left open."""

    def _send(self, event: str, step: str, *arguments: Any) -> None:
        name = f"{self.trial}-{step.removeprefix('expert-')}"
        tune.report({"event": event, "arguments": (name, *arguments)})


@dataclass
class _Events(tune.Callback):  # type: ignore[misc]
    """Hands trials' events to observers, and keeps why trials failed."""

    observers: Sequence[Observer]
    failures: dict[str, str] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks, to resume them, which we never do; observers hold what can't be saved."""
        return {}

    def on_trial_result(self, *, result: Mapping[str, Any], **_: Any) -> None:
        """Tune's hook: a trial sent an event."""
        if result.get("event") == "trial_failed":
            name, reason = result["arguments"]
            self.failures[name] = reason
        elif "event" in result:
            for observer in self.observers:
                getattr(observer, result["event"])(*result["arguments"])

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """Tune's hook: a trial's process died, or met a bug, for the last time."""
        name = str(trial.config["trial"])
        error = trial.get_pickled_error()
        self.failures[name] = str(translate(error, name) if error else trial.get_error())
