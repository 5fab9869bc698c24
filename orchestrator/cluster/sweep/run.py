"""`mome sweep`: what trials share is made once, the trials run on Ray Tune, a report compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.artifacts import Artifact, Store, locked
from orchestrator.cluster.sweep.agenda import Agenda
from orchestrator.cluster.sweep.state import State
from orchestrator.cluster.sweep.trials import FAILED, PlannedTrial, Planner
from orchestrator.config.loading import load_model
from orchestrator.config.recipe import Recipe
from orchestrator.config.sweep import Sweep, base_recipe
from orchestrator.errors import MomeError, StageFailedError
from orchestrator.pipeline.plan import make_plan, run_folder
from orchestrator.place import runs_folder
from orchestrator.reporting.comparison import Trial
from orchestrator.reporting.sweep import write_sweep_report
from orchestrator.tracking import Observer, RunFacts, mlflow_tracker

if TYPE_CHECKING:
    from orchestrator.pipeline.execute import Runner

_say = partial(print, flush=True)
Display = Callable[[Mapping[str, PlannedTrial]], Observer]
"""Makes an observer that shows trials; the mapping, by event name, grows when results ask for more of them."""


def run_sweep(file: Path, overrides: Sequence[str], runs: Path, display: Display | None = None) -> Path:
    """Run the trials that are not done yet and write the sweep's report. Returns the report's folder.

    Raises:
        StageFailedError: trials failed; the others are finished and in the report.
        MomeError: the sweep, or a recipe of it, is not valid.
    """
    sweep = load_model(Sweep, file, overrides)
    base = base_recipe(sweep, file)
    store = Store(run_folder(runs_folder(runs), base))
    out = store.root / "report"
    with locked(store.root), ExitStack() as stack:
        store.clean()
        audience = _Audience(sweep, base, store)
        agenda = Agenda(Planner(sweep, file, store), State.load(store.root / "sweep.json"), audience.announce)
        ready: list[Path] = []  # filled when the report is there for trackers to take
        if agenda.over:
            _say(f"nothing to do: all {len(agenda.trials)} trials of {sweep.name} are done")
        else:
            _work(agenda, base, store, audience.observers(display, stack, ready))
        agenda.remove_stopped_work()
        rows = [agenda.row(trial) for trial in agenda.trials]
        verdicts = write_sweep_report(rows, out, sweep.name, description=sweep.description, references=sweep.references)
        store.set_current(sweep.name, _artifacts(agenda.trials))
        ready.append(out)
    _say(verdicts)
    _say(f"report: {out / 'index.html'}")
    _raise_if_failed(rows, file, agenda.exit_code)
    return out


def _work(agenda: Agenda, base: Recipe, store: Store, observers: Sequence[Observer]) -> None:
    from orchestrator.cluster.runner import RayRunner
    from orchestrator.cluster.session import session
    from orchestrator.cluster.sweep.tuning import run_trials

    _check_costs(agenda, store)
    with session(base.resources):
        with closing(RayRunner(base.resources)) as runner:
            _make_upstream(agenda, store, runner, observers)
        if not agenda.over:
            run_trials(agenda, store, base.resources, runner.allocation, observers)


def _check_costs(agenda: Agenda, store: Store) -> None:
    """Find configurations that can't work before time goes into what they rest on.

    Raises:
        MomeError: a model, batch or context of a configuration does not fit.
    """
    for trial in agenda.waiting:
        if trial.seed != agenda.sweep.seeds[0]:
            continue  # the first seed speaks for the others
        plan = make_plan(trial.recipe, store, until=tuple(trial.trained))
        if any(planned.name in trial.upstream for planned in plan.missing):
            for planned in plan.missing:
                plan.cost(planned)


def _make_upstream(agenda: Agenda, store: Store, runner: Runner, observers: Sequence[Observer]) -> None:
    """Make what trials rest on, every distinct step once; where that fails, the trials that need it fail with it."""
    from orchestrator.pipeline.execute import execute

    failures: dict[frozenset[tuple[str, str]], MomeError | None] = {}  # what trials rest on -> why it can't be made
    for trial in (*agenda.waiting, *agenda.probes):
        needed = frozenset(trial.upstream.items())
        if needed not in failures:
            failures[needed] = None
            try:
                execute(make_plan(trial.recipe, store, until=tuple(trial.upstream), adopt=True), runner, observers)
            except MomeError as error:
                failures[needed] = error
        if (why := failures[needed]) and trial in agenda.trials:
            agenda.failed(trial, str(why), why.exit_code)


@dataclass
class _Audience:
    """Who observes a sweep, and what they know of its trainings, by event name: more when results ask for more."""

    sweep: Sweep
    base: Recipe
    store: Store
    trials: dict[str, PlannedTrial] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def announce(self, trial: PlannedTrial) -> None:
        """Know a trial that is to run."""
        for step, fingerprint in trial.trained.items():
            name, configuration = trial.event_name(step), trial.configuration
            self.trials[name] = trial
            self.fingerprints[name] = fingerprint
            self.configs[name] = {"configuration": configuration.name, **configuration.changes, "seed": trial.seed}

    def observers(self, display: Display | None, stack: ExitStack, ready: Sequence[Path]) -> list[Observer]:
        """The display and the tracker, open until `stack` is closed; they take the report if it is `ready` then."""
        found = [display(self.trials)] if display else []
        if self.base.tracking.type != "none" and (tracker := mlflow_tracker(self._facts())):
            found.append(tracker)
        for observer in found:
            stack.callback(_close, observer, ready)
        return found

    def _facts(self) -> RunFacts:
        return RunFacts(
            name=self.sweep.name,
            folder=self.store.root,
            experiment=self.base.tracking.experiment,
            parameters=self.sweep.model_dump(mode="json"),
            fingerprints=self.fingerprints,
            configs=self.configs,
        )


def _close(observer: Observer, ready: Sequence[Path]) -> None:
    observer.close(ready[0] if ready else None)


def _artifacts(trials: Sequence[PlannedTrial]) -> dict[str, Artifact]:
    """What the sweep has made and used, by name, for `mome show`."""
    found: dict[str, Artifact | None] = {}
    for trial in trials:
        store = trial.store
        found |= {step: store.find(step, fingerprint) for step, fingerprint in trial.upstream.items()}
        artifacts = trial.artifacts() or ()
        found |= {trial.event_name(step): artifact for step, artifact in zip(trial.trained, artifacts, strict=False)}
    return {name: artifact for name, artifact in found.items() if artifact}


def _raise_if_failed(rows: Sequence[Trial], file: Path, exit_code: int) -> None:
    reasons = [row["error"] for row in rows if row["status"] == FAILED]
    if reasons:
        what = f"{len(reasons)} of {len(rows)} trials failed:\n" + "\n".join(sorted(set(reasons)))
        fix = "the others are finished and in the report; mend the recipe and type the same command"
        error = StageFailedError(what, str(file), fix)
        error.exit_code = exit_code
        raise error
