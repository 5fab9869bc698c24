"""How fast steps ran on this machine: noted when they end, in the user's cache, and looked up for estimates."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.config.identity import plugins_in
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import MomeError
from orchestrator.machine import processor, recall, remember
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.records import TrainingFacts
from orchestrator.resources import expected_here
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.tokens.expected import counted_blocks
from orchestrator.tracking.observer import Observer

NAME = "speeds"
"""Under which :mod:`orchestrator.machine` keeps the notes: a file a processor and a version of torch."""
MOST = 400
"""Notes to keep, the newest."""
NEAREST = 5
"""Notes that an estimate is the middle of."""
THREADS_GAIN = 0.8
"""Threads to this power: how many times as fast a step is on them."""
_TELLING = ("losses", "losses.hidden", "teacher", "models.setups", "training.optimizers", "routers")
"""Rooms whose plug-ins change how many operations a second a step reaches."""
_TEXT = frozenset(("corpus", "tokenizer", "tokens", "blocks"))


@dataclass(frozen=True)
class Work:
    """How much a step has to do.

    Attributes:
        kind: of step, and of the plug-ins that decide its speed.
        unit: "flops", "tokens", "seconds" or "steps".
        amount: in this unit.
        size: of one token where the unit is "flops", else 1: steps of like sizes run alike.
    """

    kind: str
    unit: str
    amount: float
    size: float = 1.0


@dataclass(frozen=True)
class Conditions:
    """What a step computes on: device, arithmetic of its products, threads of a worker, with Ray or without."""

    device: str
    arithmetic: str
    threads: int
    ray: bool


@dataclass(frozen=True)
class Note:
    """A step that ran.

    Attributes:
        kind, unit, size: of its work. conditions: that it ran under.
        speed: amount of work a second.
        start: seconds of it before and after the work (a training's loop).
    """

    kind: str
    unit: str
    size: float
    device: str
    arithmetic: str
    threads: int
    ray: bool
    speed: float
    start: float


@dataclass(frozen=True)
class Speed:
    """What earlier steps tell of one to come.

    Attributes:
        speed: amount of work a second.
        start: seconds beside it.
        notes: of the earlier steps.
    """

    speed: float
    start: float
    notes: tuple[Note, ...]


def work_of(planned: PlannedStep, cost: Cost, text_tokens: float) -> Work:
    """How much a step has to do.

    Args:
        planned: the step.
        cost: its cost.
        text_tokens: of all languages and splits, about; 0: nobody knows.
    """
    kind = kind_of(planned.step.stage)
    if cost.flops:
        return Work(kind, "flops", cost.flops, cost.flops / max(cost.tokens, 1))
    if cost.seconds:
        return Work(kind, "seconds", cost.seconds)
    if planned.step.stage.accelerated and cost.tokens:
        return Work(kind, "tokens", cost.tokens)
    if text_tokens and set(planned.step.inputs.values()) <= _TEXT:
        return Work(kind, "tokens", text_tokens)
    return Work(kind, "steps", 1.0)


def kind_of(stage: Stage) -> str:
    """What a step's speed depends on beside its size: the stage, and those plug-ins that decide how it computes."""
    return " ".join([type(stage).__name__, *(spec.type for spec in plugins_in(stage) if spec.room in _TELLING)])


def text_tokens(expected: Expected) -> float:
    """Tokens of all languages and splits, about; 0: nobody knows before the text is read."""
    return float(sum(expected.blocks.values()) * expected.context * expected.languages)


def noted() -> list[Note]:
    """What was noted on this machine, the newest last; what another version has noted otherwise is passed over."""
    found = []
    for row in recall(NAME) or ():
        try:
            found.append(Note(**row))
        except TypeError:
            continue
    return found


def speed_of(work: Work, conditions: Conditions, notes: Iterable[Note]) -> Speed | None:
    """What notes tell of a step: of its kind and size where there are any, else of others that compute alike.

    Returns:
        None where no note is of the same unit, device and arithmetic.
    """
    alike = [
        note
        for note in notes
        if (note.unit, note.device, note.arithmetic) == (work.unit, conditions.device, conditions.arithmetic)
    ]
    same = [note for note in alike if note.kind == work.kind]
    if not (same or work.unit == "flops"):
        return None
    chosen = _nearest(same, work, conditions) or _nearest(alike, work, conditions)
    if not chosen:
        return None
    speeds = [note.speed * (conditions.threads / note.threads) ** THREADS_GAIN for note in chosen]
    starts = [note.start for note in chosen if note.ray == conditions.ray] or [note.start for note in chosen]
    return Speed(statistics.median(speeds), statistics.median(starts), tuple(chosen))


def _nearest(notes: Sequence[Note], work: Work, conditions: Conditions) -> list[Note]:
    """The newest of those whose conditions and size are nearest."""

    def distance(note: Note) -> tuple[bool, bool, float]:
        ratio = abs(math.log(note.size / work.size))
        return note.threads != conditions.threads, note.ray != conditions.ray, round(ratio, 1)

    nearest = min(map(distance, notes), default=None)
    return [note for note in notes if distance(note) == nearest][-NEAREST:]


@dataclass
class SpeedNotes(Observer):
    """An observer that notes how fast the steps of a run were. Steps of other machines are left out.

    Attributes:
        plan: of the run.
        costs: of its steps, as they were expected.
        resources: of its recipe.
        local: without Ray.
    """

    plan: Plan
    costs: Mapping[str, Cost]
    resources: ResourcesConfig
    local: bool
    _ended: list[tuple[str, Mapping[str, Any], Path]] = field(default_factory=list)

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
            kept = [asdict(note) for note in (*noted(), *notes)]
            remember(NAME, kept[-MOST:])

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
        loop = min(float(training["seconds"]), seconds) if training else seconds
        work = work_of(planned, cost, self._text)
        if not (work.amount and loop):
            return None
        size, speed = (float(f"{figure:.4g}") for figure in (work.size, work.amount / loop))
        return Note(work.kind, work.unit, size, speed=speed, start=round(seconds - loop, 2), **asdict(conditions))

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


def conditions_of(step: Step, cost: Cost, resources: ResourcesConfig, local: bool) -> Conditions:
    """What a step computes on, on this machine.

    Args:
        step: which.
        cost: of it.
        resources: of the recipe.
        local: without Ray.
    """
    import torch

    from orchestrator.training.device import arithmetic

    each, alone = expected_here(resources, local)
    computing = step.stage.distributed or step.stage.accelerated
    share = alone if step.alone or not computing else each
    precision = cost.training.precision if cost.training else getattr(step.stage, "precision", "fp32")
    computed = arithmetic(torch.device(share.device), "bf16" if precision == "bf16" else "fp32")
    return Conditions(share.device, computed, share.threads, not local)


def _training(folder: Path) -> TrainingFacts:
    found: TrainingFacts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return found
