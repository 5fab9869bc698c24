"""Trials on Ray Tune: each in a process, which the next one inherits; its events go to the driver's observers."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayActorError
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from orchestrator.artifacts import Store
from orchestrator.cluster.errors import translate
from orchestrator.cluster.sweep.agenda import Agenda
from orchestrator.cluster.sweep.trainable import in_process, run_trial
from orchestrator.cluster.sweep.trials import PlannedTrial
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.config.sweep import Asha
from orchestrator.errors import StoppedEarlyError, TrainingError
from orchestrator.resources import Allocation
from orchestrator.tracking import Observer

_SETTINGS = {
    # Tune's own log files, progress tables and ways with Ctrl-C would stand beside ours.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Events carry no metric, only validations do.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
_NEVER = 10**9


def run_trials(
    agenda: Agenda, store: Store, resources: ResourcesConfig, allocation: Allocation, observers: Sequence[Observer]
) -> None:
    """Run the agenda's trials until it is over, as many at a time as there are slots.

    Observers are told of each training under its :meth:`PlannedTrial.event_name`.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # trials that fail are told by our own lines
    os.environ.update(_SETTINGS, TUNE_MAX_PENDING_TRIALS_PG=str(allocation.slots))
    folder = store.root / "tune"
    shutil.rmtree(folder, ignore_errors=True)
    alone = in_process(resources, allocation)
    share = {"CPU": allocation.cpus_per_worker, "GPU": allocation.gpus_per_worker}
    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(run_trial, store=store, allocation=allocation),
            share if alone else {"CPU": 0.001},  # where Ray Train has the workers, the trial only waits for them
        ),
        tune_config=tune.TuneConfig(
            search_alg=_Feed(agenda),
            scheduler=_scheduler(agenda.sweep.asha),
            num_samples=-1,
            max_concurrent_trials=allocation.slots,
            reuse_actors=alone,  # a process takes seconds to import what a training needs
            trial_dirname_creator=str,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(folder),
            callbacks=[_Events(agenda, observers)],
            failure_config=tune.FailureConfig(max_failures=resources.max_failures),
            verbose=0,
        ),
    ).fit()
    shutil.rmtree(folder, ignore_errors=True)


def _scheduler(asha: Asha | None) -> ASHAScheduler | None:
    if asha is None:
        return None
    return ASHAScheduler(
        time_attr="step",
        metric="validation_loss",
        mode="min",
        max_t=_NEVER,  # trainings end by themselves
        grace_period=asha.grace_steps,
        reduction_factor=asha.reduction_factor,
    )


class _Feed(Searcher):  # type: ignore[misc]
    """Hands the agenda's trials to Tune, one when there is room for one."""

    def __init__(self, agenda: Agenda) -> None:
        super().__init__()
        self._agenda = agenda

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002 (a Searcher's signature)
        """Tune's hook: the next trial; None: not now."""
        trial = self._agenda.next()
        if trial is None:
            return Searcher.FINISHED if self._agenda.over else None
        return {"trial": trial.name, "recipe": trial.recipe.model_dump_json(), "trained": dict(trial.trained)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune's hook; the agenda is told by :class:`_Events`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Tune's hook; ours resume from their artifacts."""


@dataclass
class _Events(tune.Callback):  # type: ignore[misc]
    """Hands trials' events to observers, and tells the agenda how trials end."""

    agenda: Agenda
    observers: Sequence[Observer]
    open: dict[str, str] = field(default_factory=dict)  # training at work -> its trial

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks, to resume them, which we never do; observers hold what can't be saved."""
        return {}

    def on_trial_result(self, *, trial: Any, result: Mapping[str, Any], **_: Any) -> None:
        """Tune's hook: a trial sent an event."""
        event = result.get("event")
        if event == "ended":
            planned, reason = self._planned(trial), str(result["reason"])
            self.agenda.failed(planned, reason, result["exit_code"]) if reason else self.agenda.ended(planned)
        elif event:
            self._tell(str(trial.config["trial"]), event, *result["arguments"])

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        """Tune's hook: a trial's function has returned, or the scheduler has stopped it."""
        planned = self._planned(trial)
        if not self.agenda.has_ended(planned):
            step = int(trial.last_result["step"])
            self.agenda.stopped(planned, step)
            self._close(planned, StoppedEarlyError(f"stopped early by ASHA at step {step}"))

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """Tune's hook: a trial's process died for the last time; its own errors come as events."""
        planned, text = self._planned(trial), Path(trial.error_file).read_text(encoding="utf-8").strip()
        died = TrainingError(f"the trial's process failed: {text.splitlines()[-1]}", planned.name)
        error = died if "Traceback" in text else translate(RayActorError(), planned.name)
        self.agenda.failed(planned, str(error))
        self._close(planned, error if isinstance(error, Exception) else died)

    def _planned(self, trial: Any) -> PlannedTrial:
        return next(planned for planned in self.agenda.trials if planned.name == trial.config["trial"])

    def _close(self, planned: PlannedTrial, error: Exception) -> None:
        """Tell observers how trainings ended that can't say so themselves."""
        for name in [name for name, trial in self.open.items() if trial == planned.name]:
            self._tell(planned.name, "failed", name, error)

    def _tell(self, trial: str, event: str, name: str, *arguments: Any) -> None:
        if event == "started":
            self.open[name] = trial
        elif event in ("finished", "failed"):
            self.open.pop(name, None)
        for observer in self.observers:
            getattr(observer, event)(name, *arguments)
