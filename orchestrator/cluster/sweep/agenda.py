"""What of a sweep is still to run, and what its results make necessary: suggestions, equal-time controls."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from orchestrator.artifacts import digest
from orchestrator.cluster.sweep.state import State
from orchestrator.cluster.sweep.suggestions import changes_of, check_optuna, suggest
from orchestrator.cluster.sweep.trials import PlannedTrial, Planner, report_row, validation_curve
from orchestrator.config.sweep import Configuration, configuration_name, equal_time_name
from orchestrator.errors import FaultError, MomeError
from orchestrator.reporting.comparison import Trial


class Agenda:
    """Hands out trials one at a time, and is told how each ended.

    Args:
        planner: makes trials. state: decisions of earlier commands. announce: told of every trial that is to run.

    Raises:
        MomeError: see :meth:`Planner.known` and :meth:`Planner.probes`; Optuna is not installed.
    """

    def __init__(
        self, planner: Planner, state: State, announce: Callable[[PlannedTrial], None] = lambda _: None
    ) -> None:
        self.sweep, self.state = planner.sweep, state
        self.trials: list[PlannedTrial] = []
        self._planner, self._announce = planner, announce
        self._waiting: deque[PlannedTrial] = deque()
        self._failures: dict[str, str] = {}
        self.exit_code = MomeError.exit_code  # of a command whose trials failed
        self._ended: set[str] = set()
        self._undecided = dict(self.sweep.equal_time)
        self.probes = planner.probes(self.sweep.search) if self.sweep.search else []
        self._search = self.sweep.search if self.sweep.search and self.sweep.search.type == "optuna" else None
        self._add(planner.known())
        if self._search:
            check_optuna()
            identity = {
                "search": self._search.model_dump(mode="json", exclude={"samples"}),
                "sweep": planner.identity(),
            }
            self._points = state.suggestions.setdefault(digest(identity), [])
            for point in self._points[: self._search.samples]:
                self._add_suggestion(point)
            self._ask()

    def next(self) -> PlannedTrial | None:
        """The next trial to run; None where there is none now. There may be later, unless it is `over`."""
        if self._search:
            self._ask()
        return self._waiting.popleft() if self._waiting else None

    @property
    def over(self) -> bool:
        """Whether all trials have ended and no result asks for more."""
        asked = not self._search or len(self._points) >= self._search.samples
        return asked and len(self._ended) == len(self.trials)

    @property
    def waiting(self) -> Sequence[PlannedTrial]:
        """Trials that are known and not handed out."""
        return tuple(self._waiting)

    def failed(self, trial: PlannedTrial, reason: str, exit_code: int = MomeError.exit_code) -> None:
        """A trial failed, or can't run; one fault of the program among the reasons decides the exit code."""
        self._failures[trial.name] = reason
        if exit_code == FaultError.exit_code:
            self.exit_code = exit_code
        self.ended(trial)

    def stopped(self, trial: PlannedTrial, step: int) -> None:
        """A trial was stopped early; it is not run again."""
        (training,) = trial.trained.items()
        curve = validation_curve(trial.store.work(*training) / "metrics.jsonl")
        self.state.stopped[trial.key] = {"step": step, "curve": curve}
        self.state.save()
        self.ended(trial)

    def ended(self, trial: PlannedTrial) -> None:
        """A trial ended, in whatever way."""
        self._ended.add(trial.name)
        if trial in self._waiting:
            self._waiting.remove(trial)
        self._add_controls()

    def has_ended(self, trial: PlannedTrial) -> bool:
        """Whether nothing is to be done for a trial any more."""
        return trial.name in self._ended

    def remove_stopped_work(self) -> None:
        """Remove the checkpoints of trials that were stopped; call it when none is at work any more."""
        for trial in self.trials:
            if trial.key in self.state.stopped:
                for step, fingerprint in trial.trained.items():
                    shutil.rmtree(trial.store.work(step, fingerprint), ignore_errors=True)

    def row(self, trial: PlannedTrial) -> Trial:
        """The trial as the report wants it."""
        stopped = self.state.stopped.get(trial.key)
        return report_row(trial, self.sweep.metric, self._failures.get(trial.name, ""), stopped)

    def _add(self, trials: Sequence[PlannedTrial]) -> None:
        self.trials += trials
        for trial in trials:
            if trial.key in self.state.stopped or trial.artifacts():
                self._ended.add(trial.name)
            else:
                self._waiting.append(trial)
                self._announce(trial)
        self._add_controls()

    def _of(self, configuration: str) -> list[PlannedTrial]:
        return [trial for trial in self.trials if trial.configuration.name == configuration]

    def _add_controls(self) -> None:
        """Add the equal-time controls whose time is known now."""
        for name, other in list(self._undecided.items()):
            pair = self._of(name), self._of(other)
            if name in self._undecided and all(map(self.has_ended, (*pair[0], *pair[1]))):
                del self._undecided[name]
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
        for trial in trials:
            other = theirs[0].configuration.name
            self.failed(trial, f"{own.name!r} or {other!r} has no finished trial that tells how long it takes")

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

    def _ask(self) -> None:
        """Ask Optuna until there is something to run, or samples enough."""
        assert self._search is not None
        while not self._waiting and len(self._points) < self._search.samples:
            results = [(point, self._loss(point)) for point in self._points]
            finished = [(point, loss) for point, loss in results if loss is not None]
            point = suggest(self._search, len(self._points), finished)
            self._points.append(point)
            self.state.save()
            self._add_suggestion(point)

    def _add_suggestion(self, point: dict[str, Any]) -> None:
        """Its trials, unless it was suggested before."""
        assert self._search is not None
        changes = changes_of(self._search, point)
        name = configuration_name(changes)
        if not self._of(name):
            self._add([self._planner.plan(Configuration(name, changes), seed) for seed in self.sweep.seeds])

    def _loss(self, point: dict[str, Any]) -> float | None:
        """Mean loss of a suggestion over its seeds; None where one is not finished."""
        assert self._search is not None
        trials = self._of(configuration_name(changes_of(self._search, point)))
        losses = [facts[self.sweep.metric] for trial in trials for facts in trial.facts()]
        return fmean(losses) if all(trial.artifacts() for trial in trials) else None
