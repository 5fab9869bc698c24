"""Run a plan: every step as soon as its inputs are there, each published whole, failures kept apart from each other."""

from __future__ import annotations

import json
import os
import platform
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from orchestrator.artifacts import Artifact
from orchestrator.disk import disk_errors
from orchestrator.errors import MomeError, StageFailedError
from orchestrator.pipeline.graph import Step, code_of
from orchestrator.pipeline.memory import MemoryWatch
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.provenance import provenance
from orchestrator.tracking import Observer

_POLL_SECONDS = 0.3
METRICS = "metrics.jsonl"


class Runner(Protocol):
    """Where steps run: this process, or a Ray cluster."""

    def run(self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None]) -> None:
        """Run one step to its end. Called from several threads at once; `begun` is called when its turn has come.

        Raises:
            MomeError: what a person can mend.
        """

    def close(self) -> None:
        """Let go of everything that was started."""


def execute(plan: Plan, runner: Runner, observers: Sequence[Observer]) -> dict[str, Artifact]:
    """Run what is missing and return the artifact of every step. Call it with the run's lock held.

    A step that fails stops only what depends on it. What was published stays, whatever happens.

    Raises:
        StageFailedError: some steps failed. MomeError: exactly one did, with its own error.
    """
    return _Execution(plan, runner, observers).run()


@dataclass
class _Execution:
    plan: Plan
    runner: Runner
    observers: Sequence[Observer]
    events: queue.Queue[tuple[PlannedStep, Artifact | Exception | None]] = field(default_factory=queue.Queue)
    followers: dict[str, _Follower] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    memory: MemoryWatch = field(default_factory=MemoryWatch)

    def run(self) -> dict[str, Artifact]:
        done = {p.name: p.artifact for p in self.plan.steps if p.artifact is not None}
        waiting = {p.name: p for p in self.plan.missing}
        failed: dict[str, Exception] = {}
        for planned in waiting.values():
            if planned.forced:
                self.plan.store.remove(planned.place, planned.fingerprint)
        with self.memory:
            while waiting or self.followers:
                for planned in [p for p in waiting.values() if done.keys() >= set(p.step.inputs.values())]:
                    self._start(waiting.pop(planned.name), done)
                if not self.followers:
                    break  # what still waits depends on a step that failed
                planned, outcome = self._next_event()
                if isinstance(outcome, Artifact):
                    done[planned.name] = outcome
                elif isinstance(outcome, Exception):
                    failed[planned.name] = outcome
        _raise_if_failed(failed, sorted(waiting))
        return done

    def _start(self, planned: PlannedStep, done: Mapping[str, Artifact]) -> None:
        inputs = {role: done[name] for role, name in planned.step.inputs.items()}
        work = self.plan.store.work(planned.place, planned.fingerprint)
        with disk_errors(work):
            work.mkdir(parents=True, exist_ok=True)
        if not planned.step.stage.distributed:  # only trainings go on where a killed attempt stopped
            (work / METRICS).unlink(missing_ok=True)
        self.followers[planned.name] = _Follower.at_end(work / METRICS)
        # Daemon threads: after Ctrl-C the process must be able to end while a step is still at work.
        threading.Thread(target=self._work, args=(planned, inputs, work), name=planned.name, daemon=True).start()

    def _work(self, planned: PlannedStep, inputs: Mapping[str, Artifact], work: Path) -> None:
        folders = {role: artifact.folder for role, artifact in inputs.items()}
        manifest = _identity(planned, inputs)
        start = time.perf_counter()

        def begun() -> None:
            nonlocal start
            start = time.perf_counter()
            manifest["created"] = datetime.now(UTC).isoformat(timespec="seconds")
            self.events.put((planned, None))

        def write(out: Path) -> None:
            self.runner.run(planned.step, folders, out, work, begun)
            manifest["seconds"] = round(time.perf_counter() - start, 3)
            manifest["peak_memory_bytes"] = self.memory.peak()

        try:
            for read in inputs.values():
                read.check()
            artifact = self.plan.store.publish(planned.place, planned.fingerprint, manifest, write)
        except Exception as error:
            self.events.put((planned, error))
        else:
            self.events.put((planned, artifact))

    def _next_event(self) -> tuple[PlannedStep, Artifact | Exception | None]:
        """Wait for a step to begin (None), fail or finish; observers are told of it, and of metrics meanwhile."""
        while True:
            try:
                planned, outcome = self.events.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._follow()
                continue
            self._follow()
            self._pass_on(planned, outcome)
            return planned, outcome

    def _pass_on(self, planned: PlannedStep, outcome: Artifact | Exception | None) -> None:
        if planned.name not in self.begun:  # a step may fail before its turn
            self.begun.add(planned.name)
            self._tell(lambda observer: observer.started(planned.name))
        if outcome is None:
            return
        del self.followers[planned.name]
        if isinstance(outcome, Artifact):
            shutil.rmtree(self.plan.store.work(planned.place, planned.fingerprint), ignore_errors=True)
            self._tell(lambda observer: observer.finished(planned.name, outcome.manifest, outcome.folder))
        else:
            self._tell(lambda observer: observer.failed(planned.name, outcome))

    def _follow(self) -> None:
        for name, follower in self.followers.items():
            if name in self.begun and (rows := follower.read()):  # its rows may be there before word that it has begun
                self._tell(partial(_give, name, rows))

    def _tell(self, call: Callable[[Observer], None]) -> None:
        for observer in self.observers:
            call(observer)


@dataclass
class _Follower:
    """Reads what was appended to a metrics file since the last look."""

    path: Path
    offset: int = 0

    @classmethod
    def at_end(cls, path: Path) -> _Follower:
        """Begin after what an earlier attempt has written, which was followed then."""
        return cls(path, path.stat().st_size if path.exists() else 0)

    def read(self) -> list[dict[str, Any]]:
        """The rows of whole lines not seen before."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        # A resumed training cuts rows later than its checkpoint: go back to the beginning of a line that is there.
        self.offset = data.rfind(b"\n", 0, min(self.offset, len(data))) + 1
        complete, newline, _ = data[self.offset :].rpartition(b"\n")
        self.offset += len(complete) + len(newline)
        return [json.loads(line) for line in complete.splitlines() if line.strip()]


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


def _raise_if_failed(failed: Mapping[str, Exception], skipped: Sequence[str]) -> None:
    if not failed:
        return
    if len(failed) == 1:
        raise next(iter(failed.values()))
    for error in failed.values():
        if not isinstance(error, MomeError):
            raise error
    what = "\n".join(f"stage {name} failed: {error}" for name, error in failed.items())
    raise StageFailedError(what, fix=f"not run: {', '.join(skipped)}; finished stages are kept" if skipped else "")
