"""Run a plan: every step as soon as its inputs are there, each published whole, failures kept apart from each other."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.artifacts import Artifact
from orchestrator.disk import disk_errors
from orchestrator.errors import MomeError, StoppedEarlyError
from orchestrator.faults import FOLDER, explained, raise_if_failed
from orchestrator.memory import MemoryWatch, memory_facts
from orchestrator.pipeline.following import Follower
from orchestrator.pipeline.journal import Journal
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.pipeline.runner import Runner
from orchestrator.pipeline.stopping import PATIENCE, Stopping
from orchestrator.tracking import Observer

_POLL_SECONDS = 0.3
_say = partial(print, flush=True)
METRICS = "metrics.jsonl"
_TOLD = 12  # steps of many


def execute(
    plan: Plan, runner: Runner, observers: Sequence[Observer], say: Callable[[str], None] = _say
) -> dict[str, Artifact]:
    """Run what is missing and return the artifact of every step. Call it with the run's lock held.

    What still leads to something wanted goes on beside a step that has failed. All else is stopped within a minute (see
    :mod:`orchestrator.pipeline.stopping`). What was published stays, whatever happens, and so do checkpoints.

    Raises:
        StageFailedError: some steps failed. MomeError: exactly one did, with its own error; a :class:`FaultError` where
            that was none that a person can mend.
    """
    execution = Execution(plan, runner, observers, say)
    done = execution.run()
    missing = [p.name for p in plan.missing if p.name not in {*done, *execution.failed}]
    if execution.failed and missing:
        say(f"not made: {', '.join(missing)}; the same command goes on from what is there")
    raise_if_failed(execution.failed, missing)
    return done


@dataclass
class _Working:
    """A step that was started: where it works, who follows its metrics, and the thread that waits for its end."""

    planned: PlannedStep
    work: Path
    follower: Follower
    thread: threading.Thread


@dataclass
class Execution:
    """A plan at work, which may grow meanwhile.

    Attributes:
        plan, runner: what is run, and where.
        observers: are told, in the thread of :meth:`run`.
        say: takes a line.
        at_once: last steps that are begun at the same time, in the order of the plan and after all that they rest on;
            0: all steps that are ready.
        more: whether steps may still be added.
        failed: by step, why.
    """

    plan: Plan
    runner: Runner
    observers: Sequence[Observer]
    say: Callable[[str], None] = _say
    at_once: int = 0
    more: Callable[[], bool] = lambda: False
    failed: dict[str, MomeError] = field(default_factory=dict)
    waiting: dict[str, PlannedStep] = field(default_factory=dict)
    requests: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)
    events: queue.Queue[tuple[PlannedStep, Artifact | MomeError | None]] = field(default_factory=queue.Queue)
    working: dict[str, _Working] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    memory: MemoryWatch = field(default_factory=MemoryWatch)
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.stopping = Stopping([], self.runner.stop)
        self.done: dict[str, Artifact] = {}
        self.journal = Journal(self.plan.store.root)
        self.observers = [self.journal, *self.observers]

    def add(self, steps: Sequence[PlannedStep]) -> None:
        """Let steps be run too, whose inputs are here or among them. For any thread."""
        self.requests.put(partial(self._add, steps))

    def stop(self, name: str, why: str) -> None:
        """Let a step end that is at work; observers are told why. For any thread."""
        self.requests.put(partial(self._stop, name, why))

    def run(self) -> dict[str, Artifact]:
        """Run what is missing, and what is added meanwhile; the artifact of every step that is done."""
        self._add(self.plan.steps)
        with self.memory, self._told_when_over():
            while True:
                more = self.more()  # asked first: what is added just before the last word counts
                while not self.requests.empty():
                    self.requests.get()()
                self._start_ready()
                if not (self.working or more):
                    break  # what still waits depends on a step that failed
                if event := self._next_event():
                    self._note(*event)
        return self.done

    @contextmanager
    def _told_when_over(self) -> Iterator[None]:
        """After Ctrl-C the runner is closed under steps that are at work: what they meet then is no failure."""
        try:
            yield
        except BaseException:
            self.interrupted = True
            raise

    def _add(self, steps: Sequence[PlannedStep]) -> None:
        self.done |= {p.name: p.artifact for p in steps if p.artifact is not None}
        missing = {p.name: p for p in steps if p.wanted and p.artifact is None}
        for planned in missing.values():
            _ = planned.made_with
            if planned.forced:
                self.plan.store.remove(planned.place, planned.fingerprint)
        self.waiting |= missing
        self.journal.plan({p.name: p.folder(self.plan.store) for p in steps if p.wanted})
        self.stopping.add(planned.step for planned in missing.values())
        self.runner.expect([planned.step for planned in missing.values()])

    def _stop(self, name: str, why: str) -> None:
        if name in self.working and not self.stopping.is_doomed(name):
            self.stopping.doom(name, self.working[name].work, 0, why)
            self._look_after()

    def _note(self, planned: PlannedStep, outcome: Artifact | MomeError | None) -> None:
        if isinstance(outcome, Artifact):
            self.done[planned.name] = outcome
        elif outcome is not None and not isinstance(outcome, StoppedEarlyError):
            self.failed[planned.name] = outcome
            self._doom()

    def _start_ready(self) -> None:
        to_be_read = {name for p in self.waiting.values() for name in p.step.inputs.values()} - self.done.keys()
        leading = {name for name in to_be_read if not self.stopping.is_useless(name)}
        for planned in list(self.waiting.values()):
            if self.stopping.is_useless(planned.name) or set(planned.step.inputs.values()) - self.done.keys():
                continue
            full = len(self.working) >= self.at_once
            if not self.at_once or planned.name in leading or not (leading or full):
                self._start(self.waiting.pop(planned.name))

    def _start(self, planned: PlannedStep) -> None:
        inputs = {role: self.done[name] for role, name in planned.step.inputs.items()}
        work = self.plan.store.work(planned.place, planned.fingerprint)
        # Daemon threads: after Ctrl-C the process must be able to end while a step is still at work.
        thread = threading.Thread(None, self._work, f"step {planned.name}", (planned, inputs, work), daemon=True)
        self.working[planned.name] = _Working(planned, work, Follower(work / METRICS), thread)
        try:
            with disk_errors(work):
                work.mkdir(parents=True, exist_ok=True)
            if not planned.step.stage.distributed:  # only trainings go on where a killed attempt stopped
                (work / METRICS).unlink(missing_ok=True)
            thread.start()
        except Exception as error:
            self.events.put((planned, self._failure(planned.name, error)))

    def _work(self, planned: PlannedStep, inputs: Mapping[str, Artifact], work: Path) -> None:
        folders = {role: artifact.folder for role, artifact in inputs.items()}
        manifest: dict[str, Any] = {}
        start = time.perf_counter()

        def begun() -> None:
            nonlocal start
            if self.stopping.is_useless(planned.name):
                raise StoppedEarlyError("not needed any more", planned.name)
            if "created" in manifest:  # another attempt
                return
            start = time.perf_counter()
            manifest["created"] = datetime.now(UTC).isoformat(timespec="seconds")
            self.events.put((planned, None))

        def write(out: Path) -> None:
            with self._noted(planned.name):
                used = self.runner.run(planned.step, folders, out, work, begun)
            manifest["seconds"] = round(time.perf_counter() - start, 3)
            manifest.update(memory_facts(used, self.memory))

        try:
            manifest |= planned.manifest(inputs)
            for read in inputs.values():
                read.check()
            artifact = self.plan.store.publish(planned.place, planned.fingerprint, manifest, write)
        except BaseException as error:  # SystemExit too: what ends this thread is the step's failure
            self.events.put((planned, self._failure(planned.name, error)))
        else:
            self.events.put((planned, artifact))

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        """Note a failure at once: who waits behind this step for its turn is not to begin if that is useless now."""
        try:
            yield
        except BaseException as error:
            if not (isinstance(error, StoppedEarlyError) or self.stopping.was_told(name)):
                self.stopping.failed(name)
            raise

    def _failure(self, name: str, error: BaseException) -> MomeError:
        """The error as it is told."""
        if self.interrupted:
            return StoppedEarlyError("interrupted", name)
        if self.stopping.was_told(name):
            return StoppedEarlyError(self.stopping.reason(name), name)
        if not isinstance(error, StoppedEarlyError):
            self.stopping.failed(name)
        return explained(error, f"stage {name}", self.plan.store.root / FOLDER)

    def _doom(self) -> None:
        """Let steps end that have become useless, and say what goes on and what does not."""
        ending = [name for name in self.working if self.stopping.is_useless(name)]
        for name in ending:
            if not self.stopping.is_doomed(name):
                self.stopping.doom(name, self.working[name].work, PATIENCE if name in self.begun else 0)
        going = [name for name in (*self.working, *self.waiting) if not self.stopping.is_useless(name)]
        if going:
            self.say(f"meanwhile goes on: {', '.join(going[:_TOLD])}{', …' * (len(going) > _TOLD)}")
        if ending:
            self.say(f"stops within a minute, because nothing that is wanted can use it: {', '.join(ending)}")

    def _next_event(self) -> tuple[PlannedStep, Artifact | MomeError | None] | None:
        """Wait a moment for a step to begin (None), fail or finish; observers are told of it, and of metrics."""
        try:
            planned, outcome = self.events.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            self._follow()
            self._look_after()
            return None
        if planned.name not in self.working:  # it was given up, and has ended after all
            return None
        self._follow()
        self._pass_on(planned, outcome)
        return planned, outcome

    def _look_after(self) -> None:
        """See to steps that are to end, and to threads that ended without a word."""
        for name in self.stopping.look():
            if name in self.working:
                self.events.put((self.working[name].planned, StoppedEarlyError("given up: it does not stop", name)))
        for name, working in self.working.items():
            if not working.thread.is_alive() and self.events.empty():
                error = self._failure(name, RuntimeError("its thread ended without a word"))
                self.events.put((working.planned, error))

    def _pass_on(self, planned: PlannedStep, outcome: Artifact | MomeError | None) -> None:
        if planned.name not in self.begun:  # a step may fail before its turn
            self.begun.add(planned.name)
            self._tell(lambda observer: observer.started(planned.name))
        if outcome is None:
            return
        del self.working[planned.name]
        if isinstance(outcome, Artifact):
            shutil.rmtree(self.plan.store.work(planned.place, planned.fingerprint), ignore_errors=True)
            self._tell(lambda observer: observer.finished(planned.name, outcome.manifest, outcome.folder))
        else:
            self._tell(lambda observer: observer.failed(planned.name, outcome))

    def _follow(self) -> None:
        for name in self.begun & self.working.keys():  # rows may be there before word that their step has begun
            # Those of earlier attempts too: nobody knows what an observer of theirs has passed on.
            if rows := self.working[name].follower.read():
                for observer in self.observers:
                    observer.metrics(name, rows)

    def _tell(self, call: Callable[[Observer], None]) -> None:
        for observer in self.observers:
            call(observer)
