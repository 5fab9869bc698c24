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
from orchestrator.pipeline.execute import Execution, Runner
from orchestrator.pipeline.place import runs_folder
from orchestrator.pipeline.plan import Plan, run_folder
from orchestrator.reporting.comparison import Trial
from orchestrator.reporting.sweep import write_sweep_report
from orchestrator.sweeps.agenda import Agenda
from orchestrator.sweeps.state import State
from orchestrator.sweeps.steps import Steps
from orchestrator.sweeps.trials import FAILED, PlannedTrial, Planner
from orchestrator.tracking import Observer, RunFacts, mlflow_tracker

_say = partial(print, flush=True)
Display = Callable[[Mapping[str, PlannedTrial]], Observer]
"""Makes an observer that shows trials; the mapping, by training, grows when results ask for more of them."""
Place = Callable[[Recipe], AbstractContextManager[tuple[Runner, int]]]
"""Opens where steps run, and says how many trainings at the same time."""
Tune = Callable[[Agenda, Execution, Path], AbstractContextManager[None]]
"""Searches, and stops trials early, for as long as it is open; the folder is for files of its own."""


@dataclass
class SweepRun:
    """A sweep, and its trials as far as they are known.

    Attributes:
        sweep, file, base, store: what was read, from where; the recipe that trials change; where all is published.
        force, strict, adopt: see :class:`orchestrator.sweeps.steps.Steps`. Who does not adopt writes nothing.
        trials, fingerprints, configs: what observers know of those that are to run, by training.
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
        """What is to be done.

        Raises:
            MomeError: a recipe of the sweep is not valid.
        """
        state = State.load(self.store.root / "sweep.json", kept=self.adopt)
        planner = Planner(self.sweep, self.file, self._steps, state.stopped)
        return Agenda(planner, state, self._announce)

    @property
    def plan(self) -> Plan:
        """The plan of all trials that are known, and of what they rest on."""
        assert self.agenda  # the trials are planned with it
        return self._steps.plan

    def work(self, place: Place, tune: Tune | None = None, display: Display | None = None) -> Path:
        """Run what is missing, and write the report. Returns its folder.

        Raises:
            StageFailedError: trials failed; the others are finished and in the report.
        """
        agenda, out = self.agenda, self.store.root / "report"
        with ExitStack() as stack:
            ready: list[Path] = []  # filled when the report is there for trackers to take
            if agenda.over:
                _say(f"nothing to do: all {len(agenda.trials)} trials of {self.sweep.name} are done")
            else:
                self._check_costs()
                observers = self._observers(display, stack, ready)
                with place(self.base) as (runner, slots):
                    self._execute(runner, slots, tune, observers)
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

    def _execute(self, runner: Runner, slots: int, tune: Tune | None, observers: Sequence[Observer]) -> None:
        agenda = self.agenda
        execution = Execution(self.plan, runner, [agenda, *observers], at_once=slots)
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
        """Find configurations that can't work before time goes into what they rest on.

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
        """Let observers know a trial that is to run."""
        configuration = trial.configuration
        for name, fingerprint in zip(trial.trainings, trial.trained.values(), strict=True):
            self.trials[name] = trial
            self.fingerprints[name] = fingerprint
            self.configs[name] = {"configuration": configuration.name, **configuration.changes, "seed": trial.seed}

    def _observers(self, display: Display | None, stack: ExitStack, ready: Sequence[Path]) -> list[Observer]:
        """The display and the tracker, open until `stack` is closed; they take the report if it is `ready` then."""
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
        """What the sweep has made and used, by step, for `mome show`."""
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
