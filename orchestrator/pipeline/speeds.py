"""How fast steps ran on this machine, as :mod:`orchestrator.pipeline.noting` noted it, looked up for estimates."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.config.identity import plugins_in
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.machine import recall
from orchestrator.nodes import Cluster
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import PlannedStep
from orchestrator.resources import expected_shares
from orchestrator.stages.base import Cost, Expected, Stage

NAME = "own speeds"
"""Under which :mod:`orchestrator.machine` keeps the notes: a file a processor and a version of torch."""
MOST = 400
"""Notes to keep, the newest."""
NEAREST = 5
"""Notes that an estimate is the middle of."""
FIXED = 1.0
"""Seconds of a step without a loop that are spent on starting it, at most half of them, where nothing else tells."""
SESSION = "session"
"""Kind of the note of what passes before the first step begins."""
WORKER = "worker"
"""Kind of the note of what a worker takes that is started to stand ready."""
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
    """A step that ran, as it would have by itself: beside others it had a share of the cores.

    Attributes:
        kind, unit, size, amount: of its work. conditions: that it ran under.
        speed: amount of work a second.
        start: seconds of it before and after the work (a training's loop); None: it has no loop, and `speed` holds all.
        stood: it trains, and its worker stood ready: else the worker's start is in `start`.
    """

    kind: str
    unit: str
    size: float
    device: str
    arithmetic: str
    threads: int
    ray: bool
    speed: float
    start: float | None
    amount: float = 1.0
    stood: bool = False

    @property
    def seconds(self) -> float:
        """Of the work."""
        return self.amount / self.speed


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
    known = sum(expected.blocks.values()) * expected.context or expected.tokens_per_language or 0
    return float(known * expected.languages)


def noted() -> list[Note]:
    """What was noted on this machine, the newest last; what another version has noted otherwise is passed over."""
    found = []
    for row in recall(NAME) or ():
        try:
            found.append(Note(**row))
        except TypeError:
            continue
    return found


def speed_of(work: Work, conditions: Conditions, notes: Iterable[Note], *, trains: bool = False) -> Speed | None:
    """What notes tell of a step: of its kind and size where there are any, else of others that compute alike.

    Args:
        work, conditions: of the step.
        notes: of earlier ones.
        trains: the step has a loop, and its start is not asked for (:func:`start_of`).

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
    gains = [(conditions.threads / note.threads) ** THREADS_GAIN for note in chosen]
    if work.kind == chosen[0].kind and not trains:
        start, each = _line([(note.amount, note.seconds / gain) for note, gain in zip(chosen, gains, strict=True)])
        return Speed(1 / each, start, tuple(chosen))
    speed = statistics.median(note.speed * gain for note, gain in zip(chosen, gains, strict=True))
    return Speed(speed, 0.0, tuple(chosen))


def start_of(kind: str, ray: bool, stands: bool, notes: Iterable[Note]) -> float | None:
    """Seconds that a training takes beside its loop: of its kind where one was noted, else of any training; None: none.

    Args:
        kind: of its work.
        ray: with Ray.
        stands: its worker stands ready.
        notes: of earlier steps.
    """
    alike = [note for note in notes if note.start is not None and (note.ray, note.stood) == (ray, stands)]
    chosen = [note for note in alike if note.kind == kind] or alike
    return statistics.median(note.start or 0.0 for note in chosen[-NEAREST:]) if chosen else None


def seconds_of(kind: str, ray: bool, notes: Iterable[Note]) -> float | None:
    """Seconds of what is no step: :data:`SESSION`, or :data:`WORKER`; None where none was noted."""
    found = [note.seconds for note in notes if (note.kind, note.ray) == (kind, ray)][-NEAREST:]
    return statistics.median(found) if found else None


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(seconds whatever the amount, seconds of one more) from amounts and their seconds; the second is more than 0."""
    middle = statistics.median(seconds for _, seconds in points)
    quickest, amount = min((seconds, amount) for amount, seconds in points)
    each = (quickest - min(FIXED, quickest / 2)) / amount  # waiting for others only adds to what the work takes
    pairs = [(one, other) for one, other in itertools.combinations(points, 2) if abs(math.log(one[0] / other[0])) > 0.5]
    slopes = [(other[1] - one[1]) / (other[0] - one[0]) for one, other in pairs]
    if slopes and statistics.median(slopes) > 0:
        each = statistics.median(slopes)
    starts = [seconds - each * amount for amount, seconds in points]
    return max(0.0, statistics.median(starts)), each if each > 0 else middle


def _nearest(notes: Sequence[Note], work: Work, conditions: Conditions) -> list[Note]:
    """The newest of those whose conditions and size are nearest."""

    def distance(note: Note) -> tuple[bool, bool, float]:
        ratio = abs(math.log(note.size / work.size))
        return note.threads != conditions.threads, note.ray != conditions.ray, round(ratio, 1)

    nearest = min(map(distance, notes), default=None)
    return [note for note in notes if distance(note) == nearest][-NEAREST:]


def conditions_of(
    step: Step, cost: Cost, resources: ResourcesConfig, local: bool, cluster: Cluster | None = None
) -> Conditions:
    """What a step computes on.

    Args:
        step: which.
        cost: of it.
        resources: of the recipe.
        local: without Ray.
        cluster: that it runs on; None: on this machine.
    """
    import torch

    from orchestrator.training.device import arithmetic

    each, alone = expected_shares(resources, local, cluster)
    computing = step.stage.distributed or step.stage.accelerated
    share = alone if step.alone or not computing else each
    precision = cost.training.precision if cost.training else getattr(step.stage, "precision", "fp32")
    computed = arithmetic(torch.device(share.device), "bf16" if precision == "bf16" else "fp32")
    return Conditions(share.device, computed, share.threads, not local)
