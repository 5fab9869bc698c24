"""Which trials of a sweep have not ended, and the trials that results ask for: suggestions, equal-time controls."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from orchestrator.artifacts import digest
from orchestrator.config.sweep import Configuration, Search, configuration_name, equal_time_name
from orchestrator.errors import FaultError, MomeError, StageFailedError, StoppedEarlyError
from orchestrator.pipeline.plan import PlannedStep
from orchestrator.reporting.comparison import Trial
from orchestrator.sweeps.state import State
from orchestrator.sweeps.trials import PlannedTrial, Planner, report_row, validation_curve
from orchestrator.tracking.observer import Observer

Point = dict[str, Any]
"""Field of the recipe -> number, or the index of a choice."""
Suggest = Callable[[Search, int, Sequence[tuple[Point, float]]], Point]
"""Makes a suggestion of a search, from its number (from 0) and (point, loss) of the finished suggestions."""


class Agenda(Observer):
    """Knows the trials of a sweep and how each ended, and adds the trials that results ask for.

    The agenda observes the steps of the plan. The method `grow` takes the steps of added trials; whoever runs the plan
    sets the method.

    Args:
        planner: makes trials.
        state: decisions of earlier commands.
        announce: is called with every trial that is to run.

    Raises:
        MomeError: see :meth:`Planner.known` and :meth:`Planner.check_search`.
    """

    def __init__(
        self, planner: Planner, state: State, announce: Callable[[PlannedTrial], None] = lambda _: None
    ) -> None:
        self.sweep, self.state = planner.sweep, state
        self.trials: list[PlannedTrial] = []
        self.exit_code = MomeError.exit_code  # of a command whose trials failed
        self.grow: Callable[[Sequence[PlannedStep]], None] = lambda _: None
        self._planner, self._announce = planner, announce
        self._lock = threading.RLock()  # suggestions come from a thread of their own
        self._failures: dict[str, str] = {}
        self._broken: dict[str, Exception] = {}  # steps that were not made
        self._ended: set[str] = set()
        self._stopping: dict[str, int] = {}
        self.undecided = dict(self.sweep.equal_time)  # configuration -> the one whose time its control gets
        planner.check_search()
        self._add(planner.known())
        self._search = self.sweep.search if self.sweep.search and self.sweep.search.type == "optuna" else None
        if self._search:
            asked = self._search.model_dump(mode="json", exclude={"samples"})
            identity = digest({"search": asked, "sweep": planner.identity()})
            self._points: list[Point] = state.suggestions.setdefault(identity, [])
            for point in self._points[: self._search.samples]:
                self._add_suggestion(self._search, point)
        planner.steps.check_force()

    @property
    def over(self) -> bool:
        """Whether all trials have ended and no result asks for more."""
        with self._lock:
            return not self.unasked and not self.waiting

    @property
    def unasked(self) -> int:
        """How many suggestions are still to be made; `grow` has the trials of all others."""
        with self._lock:
            return max(0, self._search.samples - len(self._points)) if self._search else 0

    @property
    def waiting(self) -> list[PlannedTrial]:
        """Trials that have not ended."""
        return [trial for trial in self.trials if trial.name not in self._ended]

    def planned(self, step: str) -> PlannedStep:
        """A step of the plan."""
        return self._planner.steps.planned[step]

    def is_training(self, step: str) -> bool:
        """Whether a step of the plan is a trial's training that has not ended."""
        with self._lock:
            return any(step in trial.trainings for trial in self.waiting)

    def ask(self, suggest: Suggest, enough: int) -> None:
        """Make suggestions until `enough` trials have not ended, or all suggestions are made. For any thread.

        Raises:
            MomeError: a suggestion does not make a valid recipe.
        """
        with self._lock:
            while self._search and self.unasked and len(self.waiting) < enough:
                results = [(point, self._loss(self._search, point)) for point in self._points]
                finished = [(point, loss) for point, loss in results if loss is not None]
                point = suggest(self._search, len(self._points), finished)
                self._points.append(point)
                self.state.save()
                self._add_suggestion(self._search, point)

    def stopping(self, training: str, step: int) -> None:
        """Note that a training is told to stop early, after `step` optimizer steps. For any thread."""
        self._stopping[training] = step

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:  # noqa: ARG002 (an Observer's)
        """See :class:`orchestrator.tracking.Observer`. A trial has ended when all of its trainings have."""
        with self._lock:
            self._end([trial for trial in self.waiting if step in trial.trainings and trial.artifacts()])

    def failed(self, step: str, error: Exception) -> None:
        """See :class:`orchestrator.tracking.Observer`. Trials fail that need the step, unless it was stopped early."""
        with self._lock:
            hit = [trial for trial in self.waiting if step in trial.names.values()]
            if isinstance(error, StoppedEarlyError) and step in self._stopping:
                for trial in hit:
                    self._note_stopped(trial, self._stopping[step])
                self._end(hit)
            else:
                self._broken[step] = error
                self._fail(hit, error)

    def close(self, report: Path | None) -> None:  # noqa: ARG002
        """Note that the trials that have not ended have failed."""
        with self._lock:
            while self.waiting:  # the end of some may ask for controls
                self._fail(self.waiting, StageFailedError("not run: what it rests on was not made"))

    def remove_stopped_work(self) -> None:
        """Remove the checkpoints of stopped trials. Call this after the plan has run."""
        for trial in self.trials:
            if trial.key in self.state.stopped:
                for step, fingerprint in trial.trained.items():
                    shutil.rmtree(trial.store.work(step, fingerprint), ignore_errors=True)

    def row(self, trial: PlannedTrial) -> Trial:
        """The row of a trial in the report."""
        stopped = self.state.stopped.get(trial.key)
        return report_row(trial, self.sweep.metric, self._failures.get(trial.name, ""), stopped)

    def _add(self, trials: Sequence[PlannedTrial]) -> None:
        planned = self._planner.steps.planned
        self.trials += trials
        for trial in trials:
            forced = self._planner.steps.is_forced(trial.trainings)
            if forced and trial.key in self.state.stopped:
                del self.state.stopped[trial.key]
                self.state.save()
            if trial.key in self.state.stopped or all(planned[name].artifact for name in trial.trainings):
                self._ended.add(trial.name)
            elif trial.artifacts() and not forced:
                self._ended.add(trial.name)  # made since, by a trial that trains the same
            elif broken := [self._broken[name] for name in trial.names.values() if name in self._broken]:
                self._fail([trial], broken[0])
            else:
                self._announce(trial)
        self.grow(self._planner.steps.take())
        self._add_controls()

    def _end(self, trials: Sequence[PlannedTrial]) -> None:
        self._ended |= {trial.name for trial in trials}
        self._add_controls()

    def _fail(self, trials: Sequence[PlannedTrial], why: Exception) -> None:
        """Note failures. A fault of the program among the reasons decides the exit code."""
        self._failures |= {trial.name: str(why) for trial in trials}
        if trials and getattr(why, "exit_code", FaultError.exit_code) == FaultError.exit_code:
            self.exit_code = FaultError.exit_code
        self._end(trials)

    def _note_stopped(self, trial: PlannedTrial, step: int) -> None:
        """Record a stopped trial, so that no later command runs the trial again."""
        (training,) = trial.trained.items()
        curve = validation_curve(trial.store.work(*training) / "metrics.jsonl")
        self.state.stopped[trial.key] = {"step": step, "curve": curve}
        self.state.save()

    def _of(self, configuration: str) -> list[PlannedTrial]:
        return [trial for trial in self.trials if trial.configuration.name == configuration]

    def _add_controls(self) -> None:
        """Add the equal-time controls for which all trials of both configurations have ended."""
        for name, other in list(self.undecided.items()):
            pair = self._of(name), self._of(other)
            ended = all(trial.name in self._ended for trial in (*pair[0], *pair[1]))
            if name in self.undecided and ended and all(pair):
                del self.undecided[name]
                self._add_control(*pair)

    def _add_control(self, ours: Sequence[PlannedTrial], theirs: Sequence[PlannedTrial]) -> None:
        own = ours[0].configuration
        tokens = self._equal_time_tokens(ours, theirs)
        changes = {**own.changes, f"{self.sweep.train}.training.tokens": tokens} if tokens else own.changes
        control = Configuration(equal_time_name(own.name), changes)
        trials = [self._planner.plan(control, trial.seed) for trial in ours]
        if tokens:
            self._add(trials)
            return
        self.trials += trials
        other = theirs[0].configuration.name
        what = f"{own.name!r} or {other!r} has no finished trial that tells how long it takes"
        self._fail(trials, StageFailedError(what))

    def _equal_time_tokens(self, ours: Sequence[PlannedTrial], theirs: Sequence[PlannedTrial]) -> int:
        """Tokens, in whole batches, that one configuration trains in the time of another; 0 where that is not known.

        Medians over seeds. Decided once: speeds differ from one run to the next, and the control would with them.
        """
        key = digest([ours[0].key, theirs[0].key])
        if key not in self.state.tokens:
            own = [facts for trial in ours for facts in trial.facts()]
            other = [facts for trial in theirs for facts in trial.facts()]
            if not (own and other):
                return 0
            speeds = [median(facts["tokens_per_second"] for facts in each) for each in (own, other)]
            tokens = median(facts["tokens"] for facts in other) * speeds[0] / speeds[1]
            batch = getattr(ours[0].recipe, self.sweep.train).training.batch_tokens
            self.state.tokens[key] = max(1, round(tokens / batch)) * batch
            self.state.save()
        return self.state.tokens[key]

    def _add_suggestion(self, search: Search, point: Point) -> None:
        """Add the trials of a suggestion, unless an earlier suggestion is the same."""
        changes = changes_of(search, point)
        name = configuration_name(changes)
        if not self._of(name):
            self._add([self._planner.plan(Configuration(name, changes), seed) for seed in self.sweep.seeds])

    def _loss(self, search: Search, point: Point) -> float | None:
        """Mean loss of a suggestion over its seeds; None where one is not finished."""
        trials = self._of(configuration_name(changes_of(search, point)))
        losses = [facts[self.sweep.metric] for trial in trials for facts in trial.facts()]
        return fmean(losses) if all(trial.artifacts() for trial in trials) else None


def changes_of(search: Search, point: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's changes that a point stands for."""
    space = search.space
    return {field: space[field].choices[value] if space[field].choices else value for field, value in point.items()}
