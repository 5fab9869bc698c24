"""Notes how fast the steps of a run were, in the user's cache, when the run is over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import MomeError
from orchestrator.machine import processor, remember
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.pace import Paces
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.pipeline.sharing import Own, Span, busy_cores, standing
from orchestrator.pipeline.speeds import (
    MOST,
    NAME,
    SESSION,
    WORKER,
    Conditions,
    Note,
    conditions_of,
    noted,
    text_tokens,
    work_of,
)
from orchestrator.records import TrainingFacts
from orchestrator.resources import expected_shares
from orchestrator.stages.base import Cost
from orchestrator.tokens.expected import counted_blocks
from orchestrator.tracking.observer import Observer

_WAITED = 0.5
"""Seconds between two steps that are more than publication."""


@dataclass
class SpeedNotes(Observer):
    """An observer that notes how fast the steps of a run were. Steps of other machines are left out.

    Attributes:
        plan: of the run.
        costs: of its steps, as they were expected.
        resources: of its recipe.
        local: without Ray.
        since: when its run was asked for, on the clock of :func:`time.perf_counter`.
        paces: of its processes; without them steps are taken to have had only each other beside them.
    """

    plan: Plan
    costs: Mapping[str, Cost]
    resources: ResourcesConfig
    local: bool
    since: float
    paces: Paces | None = None
    _ended: list[tuple[str, Mapping[str, Any], Path]] = field(default_factory=list)
    _begins: dict[str, float] = field(default_factory=dict)

    def started(self, step: str) -> None:
        """Keep in mind when it begins."""
        self._begins[step] = time.perf_counter() - self.since

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """Keep in mind what has ended: the costs of what has read it are told when all is over."""
        self._ended.append((step, manifest, folder))

    def close(self, report: Path | None) -> None:  # noqa: ARG002
        """Note the speeds."""
        notes = []
        for name, manifest, folder in self._ended:
            with suppress(MomeError, OSError, ValueError, KeyError, TypeError):  # of a damaged or unknown artifact
                notes += [note] if (note := self._note(name, manifest, folder)) else []
        if notes:
            begin = min(self._begins.values(), default=0.0)
            notes.append(self._waiting(SESSION, self._paced(0.0, begin) or begin))
            if until := self._own.waited:
                waited = self._paced(begin, until) or self._own.clock.seconds(begin, until)
                notes.append(self._waiting(WORKER, waited))
            kept = [asdict(note) for note in (*noted(), *notes)]
            remember(NAME, kept[-MOST:])

    def _waiting(self, kind: str, seconds: float) -> Note:
        return Note(kind, "steps", 1.0, "cpu", "fp32", 1, not self.local, 1 / max(seconds, 0.1), None)

    def _note(self, name: str, manifest: Mapping[str, Any], folder: Path) -> Note | None:
        planned, seconds = self._steps[name], float(manifest["seconds"])
        if manifest.get("run_peak_memory_bytes") is None or seconds <= 0:
            return None  # on a cluster that others share: its machines are not this one
        training = _training(folder) if planned.step.stage.distributed else None
        cost = self._cost(planned)
        conditions = self._conditions(planned.step, cost, training)
        if training and training.get("processor") != processor():
            return None
        if training and cost.tokens:
            share = training["tokens"] / cost.tokens / training["world_size"]  # of a worker
            cost = replace(cost, tokens=round(cost.tokens * share), flops=cost.flops * share)
        begin = self._begins.get(name)
        own = (begin is not None and self._paced(begin, begin + seconds)) or self._own.seconds(name, seconds)
        loop = min(float(training["seconds"]) / seconds, 1.0) * own if training else own
        work = work_of(planned, cost, self._text)
        if not (work.amount and loop):
            return None
        size, speed, amount = (float(f"{each:.4g}") for each in (work.size, work.amount / loop, work.amount))
        start, where = round(own - loop, 2) if training else None, asdict(conditions)
        stood = bool(training and self._own.standing)
        return Note(work.kind, work.unit, size, speed=speed, start=start, amount=amount, stood=stood, **where)

    def _paced(self, begin: float, end: float) -> float | None:
        """Seconds by themselves, as the kernel counted them; None: it did not."""
        known = self.paces is not None and self.paces.known
        return self.paces.seconds(self.since + begin, self.since + end) if self.paces and known else None

    def _cost(self, planned: PlannedStep) -> Cost:
        """Of a step, now that its inputs are there; a training's own facts tell what they held."""
        if planned.step.stage.distributed:
            return self.costs[planned.name]
        inputs = {role: self._folders.get(name) for role, name in planned.step.inputs.items()}
        return planned.step.stage.cost(inputs, self.plan.expected)

    def _conditions(self, step: Step, cost: Cost, training: TrainingFacts | None) -> Conditions:
        if training:
            return Conditions(training["device"], training["arithmetic"], training["threads"], not self.local)
        return conditions_of(step, cost, self.resources, self.local)

    @cached_property
    def _own(self) -> _Together:
        ends = {name: self._begins[name] + float(m["seconds"]) for name, m, _ in self._ended if name in self._begins}
        steps = [self._steps[name].step for name in ends]
        return _Together.of(steps, self._begins, ends, self.resources, self.local)

    @cached_property
    def _steps(self) -> dict[str, PlannedStep]:
        return {planned.name: planned for planned in self.plan.steps}

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """Of all steps that are there when all is over."""
        made = {p.name: p.artifact.folder for p in self.plan.steps if p.artifact}
        return made | {name: folder for name, _, folder in self._ended}

    @cached_property
    def _text(self) -> float:
        """Tokens of all languages and splits; 0: there are no blocks of them."""
        folder, expected = self._folders.get("blocks"), self.plan.expected
        return text_tokens(replace(expected, blocks=counted_blocks(folder) if folder else {}))


@dataclass(frozen=True)
class _Together:
    """The steps of a run beside each other.

    Attributes:
        begins: by step. standing: workers that stood ready.
        waited: until when the first training waited for its worker; 0: it was there before.
        clock: of the machine.
    """

    begins: Mapping[str, float]
    standing: int
    waited: float
    clock: Own

    @classmethod
    def of(
        cls,
        steps: Sequence[Step],
        begins: Mapping[str, float],
        ends: Mapping[str, float],
        resources: ResourcesConfig,
        local: bool,
    ) -> _Together:
        each, alone = expected_shares(resources, local, None)
        trainings = [step for step in steps if step.stage.distributed]
        count = 0 if local else standing(trainings, each)
        spans = [Span(begins[step.name], ends[step.name], busy_cores(step, each, alone)) for step in steps]
        since = min(begins.values(), default=0.0)
        first = min(trainings, key=lambda step: begins[step.name], default=None)
        ready, waited = since, since  # from when its inputs were there the first training waited for its worker
        if first and count:
            ready = max((ends.get(name, since) for name in first.inputs.values()), default=since)
            waited = begins[first.name]
        if waited - ready > _WAITED:
            spans += [Span(since, waited, 1.0)] * count
        clock = Own(spans, os.cpu_count() or 1)
        return cls(begins, count, waited if waited - ready > _WAITED else 0.0, clock)

    def seconds(self, name: str, seconds: float) -> float:
        """That a step would have taken by itself, which took so many."""
        begin = self.begins.get(name)
        return seconds if begin is None else self.clock.seconds(begin, begin + seconds)


def _training(folder: Path) -> TrainingFacts:
    found: TrainingFacts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return found
