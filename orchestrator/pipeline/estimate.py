"""How long a run will take: FLOPs (or bytes of text) over the speed that earlier runs on this machine have reached.

Nothing is trained to find out. Where nothing was recorded, a short matrix product stands for the machine's speed, and
the estimate says that it is a guess.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.config.recipe import Recipe
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.pipeline.speeds import Conditions, Note, Work, conditions_of, noted, speed_of, text_tokens, work_of
from orchestrator.resources import Allocation, expected_here
from orchestrator.stages.base import Cost
from orchestrator.tokens.expected import counted_blocks, expected_blocks

EFFICIENCY = {"fp32": 0.6, "bf16": 0.35}
"""Share of a plain matrix product's speed that training reaches, by what it computes in."""
FACTOR = 3
"""Within which a guess lies, about: by how much trainings of small and large models, and slow and busy machines, differ
in the share of a matrix product's speed that they reach."""
SESSION = 6.0
"""Seconds to start and end a session of Ray."""
START = {True: 9.0, False: 1.0}
"""Seconds to start and end a training, on Ray and without, where none was recorded."""
DATA_SECONDS, DATA_BYTES = 1.0, 1.5e6
"""Of a step that reads text: seconds whatever there is of it, and bytes a second; a guess from the embedded corpus."""
TOKEN_BYTES = 3
"""UTF-8 bytes of text a token, about."""


@dataclass(frozen=True)
class Estimate:
    """Expected wall time in seconds: of each missing step by itself, and of all as they will run.

    Attributes:
        seconds: by step.
        total: from the command to its end.
        told_by: how many earlier steps on this machine the times of trainings rest on; 0: none.
        guessed: trainings of which no earlier step tells anything.
    """

    seconds: Mapping[str, float]
    total: float
    told_by: int
    guessed: tuple[str, ...]

    @property
    def grounds(self) -> str:
        """What the times of trainings rest on, in a few words."""
        earlier = f"from {self.told_by} earlier training{'s' * (self.told_by > 1)} on this machine"
        if not self.guessed:
            return earlier
        guess = f"a guess, within a factor of {FACTOR}"
        if self.told_by:
            return f"{earlier}; of {', '.join(self.guessed)} {guess}"
        return f"no run yet on this machine: {guess}"


def expecting(plan: Plan, recipe: Recipe) -> Plan:
    """The plan, with what can be told of text that is not read yet."""
    made = [p.artifact.folder for p in plan.steps if p.step.name == "blocks" and p.artifact]
    blocks = counted_blocks(made[0]) if made else expected_blocks(recipe)
    return replace(plan, expected=replace(plan.expected, blocks=blocks))


def estimate(plan: Plan, costs: Mapping[str, Cost], recipe: Recipe, local: bool) -> Estimate:
    """How long the missing steps of a plan take on this machine.

    Args:
        plan: see :func:`expecting`.
        costs: of its missing steps.
        recipe: says what they are given.
        local: without Ray.
    """
    each, _ = expected_here(recipe.resources, local)
    timing = _Timing(plan, costs, recipe, local, each, noted())
    seconds = {planned.name: timing.seconds(planned) for planned in plan.missing}
    steps = [planned.step for planned in plan.missing]
    total = makespan(steps, seconds, each.slots, serial=local) + (0.0 if local or not steps else SESSION)
    return Estimate(seconds, total, len(timing.tellers), tuple(timing.guessed))


def makespan(steps: Sequence[Step], seconds: Mapping[str, float], slots: int, *, serial: bool = False) -> float:
    """When the last step ends: each begins when its inputs are there and, if it trains or computes, a slot is free.

    First come, first served, as the runner's admission has it. `serial`: one step of any kind after the other.
    """
    ends: dict[str, float] = {}
    free = [0.0] * (1 if serial else slots)
    names = {step.name for step in steps}
    waiting = list(steps)
    while waiting:
        ready = {
            step.name: max((ends[name] for name in step.inputs.values() if name in names), default=0.0)
            for step in waiting
            if all(name in ends for name in step.inputs.values() if name in names)
        }
        step = min((step for step in waiting if step.name in ready), key=lambda step: ready[step.name])
        waiting.remove(step)
        begin = ready[step.name]
        if serial or step.stage.distributed or step.stage.accelerated:
            taken = [heapq.heappop(free) for _ in range(len(free) if step.alone else 1)]
            begin = max(begin, *taken)
            for _ in taken:
                heapq.heappush(free, begin + seconds[step.name])
        ends[step.name] = begin + seconds[step.name]
    return max(ends.values(), default=0.0)


class _Timing:
    """Seconds of steps by themselves, as they would be beside others."""

    def __init__(
        self,
        plan: Plan,
        costs: Mapping[str, Cost],
        recipe: Recipe,
        local: bool,
        each: Allocation,
        notes: Sequence[Note],
    ) -> None:
        self._plan, self._costs, self._recipe, self._local = plan, costs, recipe, local
        self._each, self._notes, self._text = each, notes, text_tokens(plan.expected)
        self._peaks: dict[Conditions, float] = {}
        self.tellers: set[Note] = set()
        self.guessed: list[str] = []

    def seconds(self, planned: PlannedStep) -> float:
        """Of one step."""
        cost, step = self._costs[planned.name], planned.step
        work = work_of(planned, cost, self._text)
        conditions = conditions_of(step, cost, self._recipe.resources, self._local)
        known = speed_of(work, conditions, self._notes)
        if known is None:
            if cost.training:
                self.guessed.append(planned.name)
            return self._guess(work, conditions, trains=cost.training is not None)
        if cost.training:
            self.tellers.update(known.notes)
        return known.start + work.amount / known.speed / (self._each.workers if cost.training else 1)

    def _guess(self, work: Work, conditions: Conditions, *, trains: bool) -> float:
        start = START[conditions.ray] if trains else 0.0
        if work.unit == "flops":
            workers = self._each.workers if trains else 1
            return start + work.amount / (EFFICIENCY[conditions.arithmetic] * self._peak(conditions)) / workers
        if work.unit == "seconds":
            return work.amount
        return DATA_SECONDS + (work.amount * TOKEN_BYTES / DATA_BYTES if work.unit == "tokens" else 0.0)

    def _peak(self, conditions: Conditions) -> float:
        if conditions not in self._peaks:
            measured = matmul_flops_per_second(conditions.device, conditions.arithmetic, conditions.threads)
            self._peaks[conditions] = measured
        return self._peaks[conditions]


def matmul_flops_per_second(device: str = "cpu", kind: str = "fp32", threads: int = 1, repeats: int = 5) -> float:
    """Operations a second of a matrix product.

    Args:
        device: "cpu" or "cuda".
        kind: "fp32" or "bf16".
        threads: on a CPU.
        repeats: the fastest of so many counts.
    """
    import torch

    size, before = 8192 if device == "cuda" else 512, torch.get_num_threads()
    a = torch.randn(size, size, dtype=torch.bfloat16 if kind == "bf16" else torch.float32, device=device)
    best = float("inf")
    torch.set_num_threads(threads)
    try:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            float((a @ a)[0, 0])  # reading a value waits for the device
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return 2 * size**3 / best
