"""Run a plan: every step as soon as its inputs are there, each published whole, failures kept apart from each other."""

from __future__ import annotations

import os
import platform
import queue
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from orchestrator.artifacts import Artifact
from orchestrator.disk import disk_errors
from orchestrator.errors import FaultError, MomeError, StageFailedError, StoppedEarlyError
from orchestrator.faults import FOLDER, explained
from orchestrator.memory import MemoryWatch, Used, memory_facts
from orchestrator.pipeline.following import Follower
from orchestrator.pipeline.graph import Step, code_of
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.pipeline.stopping import PATIENCE, Stopping
from orchestrator.provenance import provenance
from orchestrator.tracking import Observer

_POLL_SECONDS = 0.3
_say = partial(print, flush=True)
METRICS = "metrics.jsonl"


class Runner(Protocol):
    """Where steps run: this process, or a Ray cluster."""

    def expect(self, steps: Sequence[Step]) -> None:
        """Hear of the steps that are to be run, before the first one is. Returns at once."""

    def run(
        self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None]
    ) -> Used | None:
        """Run one step to its end, and say what memory it took, if that is known.

        Called from several threads at once; `begun` is called when its turn has come.

        Raises:
            MomeError: what a person can mend.
        """

    def stop(self, name: str) -> None:
        """Let a step end soon, which waits for its turn or is at work; its `run` raises something. Returns at once."""

    def close(self) -> None:
        """Let go of everything that was started."""


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
    return _Execution(plan, runner, observers, say).run()


@dataclass
class _Working:
    """A step that was started: where it works, who follows its metrics, and the thread that waits for its end."""

    planned: PlannedStep
    work: Path
    follower: Follower
    thread: threading.Thread


@dataclass
class _Execution:
    plan: Plan
    runner: Runner
    observers: Sequence[Observer]
    say: Callable[[str], None]
    events: queue.Queue[tuple[PlannedStep, Artifact | MomeError | None]] = field(default_factory=queue.Queue)
    working: dict[str, _Working] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    memory: MemoryWatch = field(default_factory=MemoryWatch)

    def __post_init__(self) -> None:
        self.stopping = Stopping([planned.step for planned in self.plan.missing], self.runner.stop)

    def run(self) -> dict[str, Artifact]:
        done = {p.name: p.artifact for p in self.plan.steps if p.artifact is not None}
        waiting = {p.name: p for p in self.plan.missing}
        failed: dict[str, MomeError] = {}
        for planned in waiting.values():
            if planned.forced:
                self.plan.store.remove(planned.place, planned.fingerprint)
        with self.memory:
            self.runner.expect([planned.step for planned in waiting.values()])
            while waiting or self.working:
                for planned in [p for p in waiting.values() if self._is_ready(p, done)]:
                    self._start(waiting.pop(planned.name), done)
                if not self.working:
                    break  # what still waits depends on a step that failed
                planned, outcome = self._next_event()
                if isinstance(outcome, Artifact):
                    done[planned.name] = outcome
                elif outcome is not None and not isinstance(outcome, StoppedEarlyError):
                    failed[planned.name] = outcome
                    self._doom(waiting)
        missing = [p.name for p in self.plan.missing if p.name not in {*done, *failed}]
        if failed and missing:
            self.say(f"not made: {', '.join(missing)}; the same command goes on from what is there")
        _raise_if_failed(failed, missing)
        return done

    def _is_ready(self, planned: PlannedStep, done: Mapping[str, Artifact]) -> bool:
        return done.keys() >= set(planned.step.inputs.values()) and not self.stopping.is_useless(planned.name)

    def _start(self, planned: PlannedStep, done: Mapping[str, Artifact]) -> None:
        inputs = {role: done[name] for role, name in planned.step.inputs.items()}
        work = self.plan.store.work(planned.place, planned.fingerprint)
        # Daemon threads: after Ctrl-C the process must be able to end while a step is still at work.
        thread = threading.Thread(target=self._work, args=(planned, inputs, work), name=planned.name, daemon=True)
        working = self.working[planned.name] = _Working(planned, work, Follower(work / METRICS), thread)
        try:
            with disk_errors(work):
                work.mkdir(parents=True, exist_ok=True)
            if not planned.step.stage.distributed:  # only trainings go on where a killed attempt stopped
                (work / METRICS).unlink(missing_ok=True)
            working.follower = Follower.at_end(work / METRICS)
            thread.start()
        except Exception as error:
            self.events.put((planned, self._failure(planned.name, error)))

    def _work(self, planned: PlannedStep, inputs: Mapping[str, Artifact], work: Path) -> None:
        folders = {role: artifact.folder for role, artifact in inputs.items()}
        manifest = _identity(planned, inputs)
        start = time.perf_counter()

        def begun() -> None:
            nonlocal start
            if self.stopping.is_useless(planned.name):
                raise StoppedEarlyError("not needed any more", planned.name)
            start = time.perf_counter()
            manifest["created"] = datetime.now(UTC).isoformat(timespec="seconds")
            self.events.put((planned, None))

        def write(out: Path) -> None:
            with self._noted(planned.name):
                used = self.runner.run(planned.step, folders, out, work, begun)
            manifest["seconds"] = round(time.perf_counter() - start, 3)
            manifest.update(memory_facts(used, self.memory))

        try:
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
        if self.stopping.was_told(name):
            return StoppedEarlyError("stopped; what it has done is kept", name)
        if not isinstance(error, StoppedEarlyError):
            self.stopping.failed(name)
        return explained(error, f"stage {name}", self.plan.store.root / FOLDER)

    def _doom(self, waiting: Collection[str]) -> None:
        """Let steps end that have become useless, and say what goes on and what does not."""
        ending = [name for name in self.working if self.stopping.is_useless(name)]
        for name in ending:
            if not self.stopping.is_doomed(name):
                self.stopping.doom(name, self.working[name].work, PATIENCE if name in self.begun else 0)
        going = [name for name in (*self.working, *waiting) if not self.stopping.is_useless(name)]
        if going:
            self.say(f"meanwhile goes on: {', '.join(going)}")
        if ending:
            self.say(f"stops within a minute, because nothing that is wanted can use it: {', '.join(ending)}")

    def _next_event(self) -> tuple[PlannedStep, Artifact | MomeError | None]:
        """Wait for a step to begin (None), fail or finish; observers are told of it, and of metrics meanwhile."""
        while True:
            try:
                planned, outcome = self.events.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._follow()
                self._look_after()
                continue
            if planned.name not in self.working:  # it was given up, and has ended after all
                continue
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
            if rows := self.working[name].follower.read():
                self._tell(partial(_give, name, rows))

    def _tell(self, call: Callable[[Observer], None]) -> None:
        for observer in self.observers:
            call(observer)


def _give(step: str, rows: list[dict[str, Any]], observer: Observer) -> None:
    observer.metrics(step, rows)


def _identity(planned: PlannedStep, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """What a manifest says of where its artifact comes from."""
    return {
        "step": planned.name,
        "stage": type(planned.step.stage).__name__,
        "config": planned.step.stage.model_dump(mode="json"),
        "inputs": {role: artifact.fingerprint for role, artifact in inputs.items()},
        **provenance(code_of(planned.step.stage)),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
    }


def _raise_if_failed(failed: Mapping[str, MomeError], missing: Sequence[str]) -> None:
    if not (failed or missing):
        return
    if not failed:
        raise StoppedEarlyError(f"stopped before the end: {', '.join(missing)}")
    if len(failed) == 1:
        raise next(iter(failed.values()))
    error = StageFailedError("\n".join(f"stage {name} failed: {error}" for name, error in failed.items()))
    error.exit_code = max((each.exit_code for each in failed.values()), key=lambda code: code == FaultError.exit_code)
    raise error
