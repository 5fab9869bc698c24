"""A sweep from its file to its report: one plan for all trials, run by the executor of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from orchestrator.artifacts import Artifact, Store
from orchestrator.config.loading import load_model
from orchestrator.config.recipe import Recipe
from orchestrator.config.sweep import Sweep, base_recipe
from orchestrator.errors import StageFailedError
from orchestrator.pipeline.execute import Execution
from orchestrator.pipeline.plan import Plan, run_folder
from orchestrator.pipeline.runner import Runner
from orchestrator.place import runs_folder
from orchestrator.reporting.comparison import Trial
from orchestrator.reporting.sweep import write_sweep_report
from orchestrator.sweeps.agenda import Agenda
from orchestrator.sweeps.state import State
from orchestrator.sweeps.steps import Steps
from orchestrator.sweeps.trials import FAILED, PlannedTrial, Planner
from orchestrator.tracking import Observer, RunFacts, mlflow_tracker

_say = partial(print, flush=True)
Display = Callable[[Mapping[str, PlannedTrial]], Observer]
"""Makes an observer that shows trials. The mapping from training to trial grows when results ask for more trials."""
Place = Callable[[Recipe], AbstractContextManager[Runner]]
"""Opens a runner."""
Tune = Callable[[Agenda, Execution, Path], AbstractContextManager[None]]
"""Searches and stops trials early while the context is open; the folder is for temporary files."""


@dataclass
class SweepRun:
    """A sweep, and the trials that are known.

    Attributes:
        sweep: the sweep.
        file: the file that the sweep was read from.
        base: the recipe that trials change.
        store: the store of the sweep.
        force: see :class:`orchestrator.sweeps.steps.Steps`.
        strict: see :class:`orchestrator.sweeps.steps.Steps`.
        adopt: see :class:`orchestrator.sweeps.steps.Steps`; False: nothing is written.
        trials: training -> its trial, of the trials that are to run.
        fingerprints: training -> its fingerprint, for the tracker.
        configs: training -> its parameters, for the tracker.
    """

    sweep: Sweep
    file: Path
    base: Recipe
    store: Store
    force: Sequence[str] = ()
    strict: bool = False
    adopt: bool = True
    trials: dict[str, PlannedTrial] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def agenda(self) -> Agenda:
        """The agenda of the sweep.

        Raises:
            MomeError: a recipe of the sweep is not valid.
        """
        state = State.load(self.store.root / "sweep.json", kept=self.adopt)
        planner = Planner(self.sweep, self.file, self._steps, state.stopped)
        return Agenda(planner, state, self._announce)

    @property
    def plan(self) -> Plan:
        """The plan of all known trials and of the steps that they rest on."""
        assert self.agenda  # the trials are planned with it
        return self._steps.plan

    def work(self, place: Place, tune: Tune | None = None, display: Display | None = None) -> Path:
        """Run the missing steps, and write the report. Returns the folder of the report.

        Args:
            place: opens the runner.
            tune: searches and stops early.
            display: makes the display.

        Raises:
            StageFailedError: trials failed; the others are finished and in the report.
        """
        agenda, out = self.agenda, self.store.root / "report"
        with ExitStack() as stack:
            ready: list[Path] = []  # filled when the report is written
            if agenda.over:
                _say(f"nothing to do: all {len(agenda.trials)} trials of {self.sweep.name} are done")
            else:
                self._check_costs()
                observers = self._observers(display, stack, ready)
                with place(self.base) as runner:
                    self._execute(runner, tune, observers)
            agenda.close(None)
            agenda.remove_stopped_work()
            rows = [agenda.row(trial) for trial in agenda.trials]
            sweep = self.sweep
            verdicts = write_sweep_report(
                rows, out, sweep.name, description=sweep.description, references=sweep.references
            )
            self.store.set_current(sweep.name, self._artifacts())
            ready.append(out)
        _say(verdicts)
        _say(f"report: {out / 'index.html'}")
        self._raise_if_failed(rows)
        return out

    def _execute(self, runner: Runner, tune: Tune | None, observers: Sequence[Observer]) -> None:
        agenda = self.agenda
        execution = Execution(self.plan, runner, [agenda, *observers], at_once=runner.slots)
        agenda.grow = execution.add
        if tune is None:
            execution.run()
        else:
            with tune(agenda, execution, self.store.root / "tune"):
                execution.run()

    @cached_property
    def _steps(self) -> Steps:
        return Steps(self.store, self.base, self.force, self.strict, self.adopt)

    def _check_costs(self) -> None:
        """Find configurations that can't work before time goes into the steps that they rest on.

        Raises:
            MomeError: a model, batch or context of a configuration does not fit.
        """
        plan, first = self.plan, [t for t in self.agenda.waiting if t.seed == self.sweep.seeds[0]]
        missing = {planned.name for planned in plan.missing}
        named = {name for trial in first if trial.upstream & missing for name in trial.names.values()}
        for planned in plan.missing:
            if planned.name in named:  # the first seed speaks for the others
                plan.cost(planned)

    def _announce(self, trial: PlannedTrial) -> None:
        """Let observers know that a trial is to run."""
        configuration = trial.configuration
        for name, fingerprint in zip(trial.trainings, trial.trained.values(), strict=True):
            self.trials[name] = trial
            self.fingerprints[name] = fingerprint
            self.configs[name] = {"configuration": configuration.name, **configuration.changes, "seed": trial.seed}

    def _observers(self, display: Display | None, stack: ExitStack, ready: Sequence[Path]) -> list[Observer]:
        """The display and the tracker. When `stack` is closed, both are closed with the report if `ready` has one."""
        found = [display(self.trials)] if display else []
        facts = RunFacts(
            name=self.sweep.name,
            folder=self.store.root,
            experiment=self.base.tracking.experiment,
            parameters=self.sweep.model_dump(mode="json"),
            fingerprints=self.fingerprints,
            configs=self.configs,
        )
        if self.base.tracking.type != "none" and (tracker := mlflow_tracker(facts)):
            found.append(tracker)
        for observer in found:
            stack.callback(_close, observer, ready)
        return found

    def _artifacts(self) -> dict[str, Artifact]:
        """Step -> artifact, of all that the sweep has made and used, for `mome show`."""
        places = {p.name: (p.place, p.fingerprint) for p in self.plan.steps if p.wanted}
        found = {name: self.store.find(*place) or self.store.elsewhere(*place) for name, place in places.items()}
        return {name: artifact for name, artifact in found.items() if artifact}

    def _raise_if_failed(self, rows: Sequence[Trial]) -> None:
        reasons = [row["error"] for row in rows if row["status"] == FAILED]
        if reasons:
            what = f"{len(reasons)} of {len(rows)} trials failed:\n" + "\n".join(sorted(set(reasons)))
            fix = "the others are finished and in the report; mend the recipe and type the same command"
            error = StageFailedError(what, str(self.file), fix)
            error.exit_code = self.agenda.exit_code
            raise error


def read_sweep(file: Path, overrides: Sequence[str], runs: Path, **options: Any) -> SweepRun:
    """Read a sweep's file; `options` are fields of :class:`SweepRun`.

    Raises:
        MomeError: the sweep, or the recipe that it changes, is not valid.
    """
    sweep = load_model(Sweep, file, overrides)
    base = base_recipe(sweep, file)
    return SweepRun(sweep, file, base, Store(run_folder(runs_folder(runs), base)), **options)


def _close(observer: Observer, ready: Sequence[Path]) -> None:
    observer.close(ready[0] if ready else None)
