"""How long a run will take, told in seconds: each training as one like it took here, else by rehearsal of a few
micro-batches, else by FLOPs; and then all in order.
"""

from __future__ import annotations

import heapq
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from orchestrator.config.recipe import Recipe
from orchestrator.losses._precision import fast_bf16
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.pace import Conditions, Pace, Recorded
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.pipeline.rehearsal import Rehearsal
from orchestrator.stages.base import Cost
from orchestrator.tokens.expected import counted_blocks, expected_blocks
from orchestrator.training.device import arithmetic

EFFICIENCY = {"fp32": 0.6, "bf16": 0.35}
"""Share of a plain matrix product's speed that training reaches, by what it computes in."""
SESSION, FIT, TASK = 1.2, 2.5, 0.5
"""Of Ray: to start and end a session, to start and end a training, to start any other step; in starts of a
process that can train, because starting processes is what they do. From a study of 50 trainings, two at a time on two
cores, where such a start took 4.8 s and a training 12 s beside its loop."""
POLLING = 0.1
"""Share of a core that looking after a training takes on Ray: its controller, its helpers, the run itself."""
MOST_PROCESS_SECONDS = 10.0
"""Of a process that has just begun, to import torch and transformers."""
DATA_SECONDS = 2.0
"""Of a step that neither trains nor computes with a model."""


@dataclass(frozen=True)
class Machine:
    """What trainings are given.

    Attributes:
        device: "cpu" or "cuda". slots: trainings at the same time. workers: of each.
        threads: of a training's worker; threads_alone: of one that runs beside no other. ray: they run on Ray.
    """

    device: str
    slots: int
    workers: int
    threads: int
    threads_alone: int
    ray: bool


@dataclass(frozen=True)
class Estimate:
    """Expected wall time in seconds: of each missing step by itself, and of all as they will run.

    Attributes:
        seconds: by step. total: from the command to its end.
        recorded: trainings as one like them took before. rehearsed: trainings timed rather than calculated.
    """

    seconds: Mapping[str, float]
    total: float
    recorded: int
    rehearsed: int


def expecting(plan: Plan, recipe: Recipe) -> Plan:
    """The plan, with what can be told of text that is not read yet."""
    made = [p.artifact.folder for p in plan.steps if p.step.name == "blocks" and p.artifact]
    blocks = counted_blocks(made[0]) if made else expected_blocks(recipe)
    return replace(plan, expected=replace(plan.expected, blocks=blocks))


def estimate(plan: Plan, costs: Mapping[str, Cost], machine: Machine) -> Estimate:
    """How long the missing steps of a plan take on a machine.

    Takes a few micro-batches of every kind of training that no run beside this one has done here.

    Args:
        plan: see :func:`expecting`. costs: of all its steps. machine: this one, as the run will share it out.
    """
    process = process_seconds() if machine.ray else 0.0
    kind = "bf16" if machine.device == "cuda" or fast_bf16() else "fp32"
    speed = EFFICIENCY[kind] * matmul_flops_per_second(machine.device, kind)
    with tempfile.TemporaryDirectory() as folder:
        rehearsal = Rehearsal(plan, costs, machine.device, Path(folder), speed)
        timing = _Timing(plan, costs, machine, rehearsal, Recorded.of(plan.store.root.parent), process)
        timing.find_paces()
    seconds = {planned.name: timing.seconds(planned) for planned in plan.missing}
    steps = [planned.step for planned in plan.missing]
    total = makespan(steps, seconds, machine.slots, serial=not machine.ray) + SESSION * process
    known = {planned.name for planned in plan.missing if timing.paces.get(planned.name)}
    return Estimate(seconds, total, len(known & timing.recorded), len(known - timing.recorded))


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


@dataclass
class _Timing:
    """Seconds of steps by themselves, as they would be beside others."""

    plan: Plan
    costs: Mapping[str, Cost]
    machine: Machine
    rehearsal: Rehearsal
    records: Recorded
    process: float  # seconds that starting one takes
    paces: dict[str, Pace | None] = field(default_factory=dict)
    recorded: set[str] = field(default_factory=set)

    def find_paces(self) -> None:
        """Of the missing trainings, and of those whose models missing steps read."""
        for planned in self.plan.missing:
            if self.costs[planned.name].training is not None:
                self._pace(planned)
            elif planned.step.stage.accelerated:
                list(self._paces_behind(planned))

    @cached_property
    def speed(self) -> float:
        """Operations a second of what is reckoned by its FLOPs: as trainings reach whose pace is known, if any."""
        reached = []
        for name, pace in self.paces.items():
            if pace is not None and (config := self.costs[name].training):
                cost = self.costs[name]
                reached.append(cost.flops / cost.tokens * config.batch_tokens / pace.step)
        return max(reached, default=self.rehearsal.flops_per_second)

    def seconds(self, planned: PlannedStep) -> float:
        """Of one step."""
        stage, cost = planned.step.stage, self.costs[planned.name]
        start = (FIT if stage.distributed else TASK) * self.process
        if not (stage.distributed or stage.accelerated):
            return start + max(DATA_SECONDS, cost.seconds)
        return (start + self._computing(planned, cost)) * self._crowd(planned)

    def _crowd(self, planned: PlannedStep) -> float:
        """How many want each core that a step has, itself included."""
        machine, polling = self.machine, POLLING if self.machine.ray and self.machine.device == "cpu" else 0.0
        trainings = 1 if planned.step.alone else machine.slots * machine.threads / machine.threads_alone
        return max(1.0, trainings) + polling

    def _computing(self, planned: PlannedStep, cost: Cost) -> float:
        if cost.training is not None and (pace := self._pace(planned)):
            return self._training(cost, pace)
        if cost.training is None and (paces := [pace for pace in self._paces_behind(planned) if pace]):
            return cost.tokens * sum(pace.token for pace in paces) / len(paces)
        return cost.flops / self.speed / self.machine.workers

    def _training(self, cost: Cost, pace: Pace) -> float:
        """Its steps, its validations, and what is around them."""
        config, context = cost.training, self.plan.expected.context
        assert config is not None
        steps = math.ceil(cost.tokens / (config.batch_tokens // context * context))
        validations = math.ceil(steps / config.eval_every)
        held_out = min(config.eval_blocks, self.plan.expected.blocks.get("validation", config.eval_blocks)) * context
        loop = steps * pace.step + validations * held_out * pace.languages * pace.token
        return pace.around + loop / self.machine.workers

    def _pace(self, planned: PlannedStep) -> Pace | None:
        name = planned.name
        if name not in self.paces:
            alone, machine = planned.step.alone, self.machine
            threads = machine.threads_alone if alone else machine.threads
            found = self._record(planned, threads)
            if found is not None:
                self.recorded.add(name)
            else:
                beside = min(machine.slots, machine.threads_alone // machine.threads) - 1
                neighbours = 0 if alone or machine.device != "cpu" else max(beside, 0)
                found = self.rehearsal.pace(planned, threads, neighbours)
            self.paces[name] = found
        return self.paces[name]

    def _record(self, planned: PlannedStep, threads: int) -> Pace | None:
        cost, device = self.costs[planned.name], self.machine.device
        if cost.training is None:
            return None
        computed = arithmetic(torch.device(device), cost.training.precision)
        alike = Conditions(cost.parameters, self.plan.expected.context, device, threads, computed)
        return self.records.pace(planned.step.stage, alike, cost.training.batch_tokens)

    def _paces_behind(self, planned: PlannedStep) -> Iterator[Pace | None]:
        """Of the trainings whose models a step reads: it reads text as fast as they are validated."""
        steps = {each.name: each for each in self.plan.steps}
        for name in planned.step.inputs.values():
            if self.costs[name].training is not None:
                yield self._pace(steps[name])
            elif name not in ("blocks", "tokenizer"):
                yield from self._paces_behind(steps[name])


def matmul_flops_per_second(device: str = "cpu", kind: str = "fp32", repeats: int = 10) -> float:
    """Operations a second of a matrix product in fp32 or bf16: the yardstick without a rehearsal."""
    size = 8192 if device == "cuda" else 768
    a = torch.randn(size, size, dtype=torch.bfloat16 if kind == "bf16" else torch.float32, device=device)
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # reading a value waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def process_seconds() -> float:
    """CPU seconds that a new process takes until it can train, about: this one has imported as much by now."""
    return min(time.process_time(), MOST_PROCESS_SECONDS)
