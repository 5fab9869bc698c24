"""Ray Tune in a sweep: Tune searches and stops early. The plan and the admission of its runner decide what trains when.

Tune runs in a thread beside the execution of the plan. For each training that has begun, Tune gets a trial that watches
the training (:mod:`orchestrator.cluster.watching`) and takes no CPU.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from orchestrator.cluster.watching import watch
from orchestrator.config.sweep import Asha, Search
from orchestrator.errors import ResourceError
from orchestrator.pipeline.execute import METRICS, Execution
from orchestrator.sweeps.agenda import Agenda, Point
from orchestrator.tracking.observer import Observer

_SETTINGS = {
    # Tune's own log files, progress tables and ways with Ctrl-C would stand beside ours.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # A training that ends without a validation has no metric.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
_NOTHING = {"CPU": 0, "memory": 1}
"""The resources of a watcher: Tune must reserve something, so a watcher reserves a byte of memory."""
_NEVER = 10**9
_END_SECONDS = 30.0
_say = partial(print, flush=True)


@contextmanager
def tuning(agenda: Agenda, execution: Execution, folder: Path) -> Iterator[None]:
    """Let Tune watch the trainings of an execution, which is run in the block.

    Args:
        agenda: knows the trials.
        execution: runs the plan.
        folder: for Tune's files.

    Raises:
        MomeError: a suggestion of Optuna does not make a valid recipe. Whatever else ended Tune.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    os.environ.update(_SETTINGS, TUNE_MAX_PENDING_TRIALS_PG=str(execution.at_once))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    watcher = _Watcher(agenda, execution, folder)
    thread = threading.Thread(target=watcher.run, name="tune", daemon=True)
    execution.observers = [*execution.observers, watcher]
    execution.more = lambda: bool(agenda.unasked) and thread.is_alive()
    thread.start()
    try:
        yield
    finally:
        watcher.over = True
    thread.join(_END_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    if watcher.error is not None:
        raise watcher.error


class _Watcher(Searcher, Observer):  # type: ignore[misc]
    """Hands the trainings that have begun to Tune: the searcher of Tune, and an observer of the plan's steps.

    Attributes:
        over: the execution has ended.
        error: the error that ended Tune.
    """

    def __init__(self, agenda: Agenda, execution: Execution, folder: Path) -> None:
        super().__init__()
        self.over = False
        self.error: BaseException | None = None
        self._agenda, self._execution, self._folder = agenda, execution, folder
        self._begun: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._watched: dict[str, str] = {}  # Tune's trial -> the training

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its searcher, to resume it; sweeps resume from their artifacts and `sweep.json`."""
        return {}

    def run(self) -> None:
        """Run Tune until all is over."""
        tuner = tune.Tuner(
            tune.with_resources(watch, _NOTHING),
            tune_config=tune.TuneConfig(
                search_alg=self,
                scheduler=_scheduler(self._agenda.sweep.asha),
                num_samples=-1,
                max_concurrent_trials=self._execution.at_once,
                reuse_actors=True,
                trial_dirname_creator=str,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(self._folder),
                failure_config=tune.FailureConfig(max_failures=1),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except BaseException as error:  # raised in the thread that waits for this one
            self.error = error

    def suggest(self, trial_id: str) -> Any:
        """Tune's hook: the next training to watch, or None. Optuna makes suggestions where there is room for more."""
        self._agenda.ask(suggest, self._execution.at_once)
        try:
            training = self._watched[trial_id] = self._begun.get_nowait()
        except queue.Empty:
            return Searcher.FINISHED if self.over else None
        planned, store = self._agenda.planned(training), self._execution.plan.store
        folders = [each(planned.place, planned.fingerprint) for each in (store.work, store.folder)]
        return {"metrics": [str(folder / METRICS) for folder in folders], "ended": str(self._ended(training))}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune's hook: a training has ended, or the scheduler stops it early, or it can't be watched."""
        training = self._watched.pop(trial_id)
        if self._ended(training).exists():
            return
        if error or not result:
            _say(f"{training}: Ray Tune can't watch it, so it is not stopped early")
            return
        self._agenda.stopping(training, int(result["step"]))
        self._execution.stop(training, f"stopped early by ASHA at step {result['step']}")

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Tune's hook; see :meth:`__getstate__`."""

    def started(self, step: str) -> None:
        """See :class:`orchestrator.tracking.Observer`."""
        if self._agenda.is_training(step):
            self._begun.put(step)

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:  # noqa: ARG002 (an Observer's)
        """See :class:`orchestrator.tracking.Observer`."""
        self._ended(step).touch()

    def failed(self, step: str, error: Exception) -> None:  # noqa: ARG002 (an Observer's)
        """See :class:`orchestrator.tracking.Observer`."""
        self._ended(step).touch()

    def _ended(self, step: str) -> Path:
        """A file that is there when a step has ended."""
        return self._folder / f"{step}.ended"


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

    The suggestion depends on the arguments alone, so a sweep that was killed goes on with the same suggestion.
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
    for name, values in search.space.items():
        if values.choices:  # by index: a choice may be a mapping
            found[name] = CategoricalDistribution(range(len(values.choices)))
        else:
            kind: Any = IntDistribution if values.whole else FloatDistribution
            found[name] = kind(values.low, values.high, log=values.log)
    return found
