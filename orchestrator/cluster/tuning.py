"""Ray Tune in a sweep: it searches and stops early. What trains, and when, is the plan's business and our admission's.

Tune runs in a thread beside the execution of the plan. A training that has begun gets a trial of Tune's that watches it
(:mod:`orchestrator.cluster.watching`) and takes no CPU.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from orchestrator.cluster.watching import watch
from orchestrator.config.sweep import Asha, Search
from orchestrator.errors import ResourceError
from orchestrator.pipeline.execute import Execution
from orchestrator.sweeps.agenda import Agenda, Point

_SETTINGS = {
    # Tune's own log files, progress tables and ways with Ctrl-C would stand beside ours.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # A training that ends without a validation has no metric.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
_NOTHING = {"CPU": 0, "memory": 1}
"""Tune wants to reserve something: a byte."""
_NEVER = 10**9
_END_SECONDS = 30.0
_say = partial(print, flush=True)


@contextmanager
def tuning(agenda: Agenda, execution: Execution, folder: Path) -> Iterator[None]:
    """Let Tune watch the trainings of an execution, which is run in the block.

    Raises:
        MomeError: what Optuna suggested is no valid recipe. Whatever else ended Tune.
    """
    tuner = _Tuner(agenda, execution, folder)
    execution.observers = [*execution.observers, tuner]
    execution.more = tuner.may_add
    tuner.start()
    yield
    tuner.finish()


@dataclass
class _Tuner:
    """An observer of the plan's steps that has Tune watch trainings, in a thread of its own.

    Attributes:
        begun: trainings that nobody watches yet. over: nothing more begins. error: what ended Tune before that.
    """

    agenda: Agenda
    execution: Execution
    folder: Path
    begun: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    over: bool = False
    error: BaseException | None = None

    def start(self) -> None:
        """Start Tune."""
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "ended").mkdir(parents=True)
        slots = max(1, self.execution.at_once)
        os.environ.update(_SETTINGS, TUNE_MAX_PENDING_TRIALS_PG=str(slots))
        self._tuner = tune.Tuner(
            tune.with_resources(watch, _NOTHING),
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(self),
                scheduler=_scheduler(self.agenda.sweep.asha),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_dirname_creator=str,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(self.folder),
                callbacks=[_Decisions(self)],
                failure_config=tune.FailureConfig(max_failures=1),
                verbose=0,
            ),
        )
        self._thread = threading.Thread(target=self._run, name="tune", daemon=True)
        self._thread.start()

    def may_add(self) -> bool:
        """Whether suggestions will come that are not made yet."""
        return bool(self.agenda.unasked) and self._thread.is_alive()

    def finish(self) -> None:
        """Wait until Tune has ended.

        Raises:
            BaseException: whatever ended it too early.
        """
        self.over = True
        self._thread.join(_END_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            self._tuner.fit()
        except BaseException as error:
            self.error = error

    def next(self) -> str | None:
        """A training that has begun and that nobody watches yet; None where there is none now."""
        self.agenda.ask(suggest, max(1, self.execution.at_once))
        with suppress(queue.Empty):
            return self.begun.get_nowait()
        return None

    def config(self, training: str) -> dict[str, Any]:
        """What :func:`watch` is given of a training."""
        planned = self.agenda.planned(training)
        store, place = self.execution.plan.store, (planned.place, planned.fingerprint)
        metrics = [str(folder / "metrics.jsonl") for folder in (store.work(*place), store.folder(*place))]
        return {"training": training, "metrics": metrics, "ended": str(self.folder / "ended" / training)}

    def started(self, step: str) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        if self.agenda.is_training(step):
            self.begun.put(step)

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """See :class:`orchestrator.tracking.Observer`."""

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:  # noqa: ARG002 (an Observer's)
        """See :class:`orchestrator.tracking.Observer`."""
        (self.folder / "ended" / step).touch()

    def failed(self, step: str, error: Exception) -> None:  # noqa: ARG002 (an Observer's)
        """See :class:`orchestrator.tracking.Observer`."""
        (self.folder / "ended" / step).touch()

    def close(self, report: Path | None) -> None:
        """Nothing is left open."""


class _Searcher(Searcher):  # type: ignore[misc]
    """Has Tune watch trainings, one when there is room for one; new ones are suggested meanwhile."""

    def __init__(self, tuner: _Tuner) -> None:
        super().__init__()
        self._tuner = tuner

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its searcher, to resume it, which we never do."""
        return {}

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002 (a Searcher's signature)
        """Tune's hook: what to watch next; None: not now."""
        if training := self._tuner.next():
            return self._tuner.config(training)
        return Searcher.FINISHED if self._tuner.over else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune's hook; suggestions rest on artifacts."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Tune's hook; sweeps resume from their artifacts and `sweep.json`."""


class _Decisions(tune.Callback):  # type: ignore[misc]
    """Has a training stopped that Tune's scheduler has stopped watching."""

    def __init__(self, tuner: _Tuner) -> None:
        self._tuner = tuner

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks, to resume them, which we never do."""
        return {}

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        """Tune's hook: the scheduler has stopped a trial, or the training that it watched has ended."""
        training = str(trial.config["training"])
        if not Path(trial.config["ended"]).exists():
            step = int(trial.last_result["step"])
            self._tuner.agenda.stopping(training, step)
            self._tuner.execution.stop(training, f"stopped early by ASHA at step {step}")

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """Tune's hook: a process that watches has died again and again."""
        _say(f"{trial.config['training']}: Ray Tune can't watch it, so it is not stopped early")


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


def check_optuna() -> None:
    """Find out early that it is missing.

    Raises:
        ResourceError: Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ResourceError("Optuna is not installed", "search.type", "pip install 'mome-orchestrator[cluster]'")


def suggest(search: Search, number: int, results: Sequence[tuple[Point, float]]) -> Point:
    """Suggestion `number` (from 0), by the tree-structured Parzen estimator over (point, loss) of finished ones.

    It rests on these results alone: whatever was killed meanwhile, the next one is the same.
    """
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searcher = OptunaSearch(
        _distributions(search),
        metric="loss",
        mode="min",
        points_to_evaluate=[point for point, _ in results],
        evaluated_rewards=[loss for _, loss in results],
        seed=search.seed + number,
    )
    point = searcher.suggest("next") or {}
    return {field: search.space[field].rounded(value) for field, value in point.items()}


def _distributions(search: Search) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for field_, values in search.space.items():
        if values.choices:  # by index: a choice may be a mapping
            found[field_] = CategoricalDistribution(range(len(values.choices)))
        else:
            kind: Any = IntDistribution if values.whole else FloatDistribution
            found[field_] = kind(values.low, values.high, log=values.log)
    return found
