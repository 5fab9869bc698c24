"""How long a run will take: FLOPs (or bytes of text) over the speed that earlier runs on this machine have reached.

Nothing is trained to find out. Where nothing was recorded, a short matrix product stands for the machine's speed, and
the estimate says that it is a guess. On this machine the run has the cores that others leave now.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.config.recipe import Recipe
from orchestrator.nodes import Cluster
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.pipeline.schedule import Schedule, Takes, Timed, longest_paths, makespan, pace
from orchestrator.pipeline.sharing import busy_cores, standing
from orchestrator.pipeline.speeds import (
    SESSION,
    THREADS_GAIN,
    WORKER,
    Conditions,
    Note,
    Work,
    conditions_of,
    noted,
    seconds_of,
    speed_of,
    start_of,
    text_tokens,
    work_of,
)
from orchestrator.resources import expected_shares, gpus
from orchestrator.stages.base import Cost
from orchestrator.tokens.expected import counted_blocks, expected_blocks

EFFICIENCY = {"fp32": 0.6, "bf16": 0.35}
"""Share of a plain matrix product's speed that training reaches, by what it computes in. On a CPU all that is no
product is computed in fp32 in any case, and takes about as long as products do in fp32."""
FACTOR = 3
"""Within which a guess lies, about: by how much trainings of small and large models, and slow and busy machines, differ
in the share of a matrix product's speed that they reach."""
GUESS_ELSEWHERE = "a guess for GPUs that are not in this machine, within a factor of 10"
GPU_FLOPS = {"fp32": 5e13, "bf16": 2e14}
"""Of a matrix product on a GPU that is not in this machine: an A100's and an L40S's, about; an H100's are three times
as many."""
LIKE = 4
"""Models so many times as large reach about the same share of a matrix product's speed."""
SESSION_SECONDS = {True: 6.0, False: 0.2}
"""From the command to the first step, on Ray and without, where none was noted."""
EDGE = 2.0
"""Seconds of the process itself, before it asks for a run and after the last step."""
ENDS = 0.2
"""Ray's end, as a share of what passes before the first step: mostly Ray's start."""
BETWEEN = 0.15
"""Seconds from the end of a step to the beginning of those that wait for it: it is published, and they check it."""
FIRST = 9.0
"""Seconds to start a training by Ray Train, where none was noted."""
STANDS = 5.5
"""Seconds until a worker stands ready that is started while text is read, where none was noted."""
START = 1.0
"""Seconds to start and end a training otherwise, where none was noted."""
TASK = {True: 3.0, False: 0.0}
"""Of a step that computes beside trainings, on Ray and without: its slot's worker may not be ready."""
DATA_SECONDS = 1.0
"""Of a step that computes nothing, whatever there is to do."""
TEXT_SPEED = {"CorpusStage": 1e5, "TokenizerStage": 4e5, "TokensStage": 2e5, "BlocksStage": 2e6}
"""Tokens a second of steps that read text, on two cores; a guess from the embedded corpus. Of others 2e6."""


@dataclass(frozen=True)
class Estimate:
    """Expected wall time in seconds: of each missing step beside the others, and of all as they will run.

    Attributes:
        seconds: by step.
        schedule: of the steps, from when the first one begins.
        total: from the command to its end.
        told_by: how many earlier steps on this machine the times of trainings rest on; 0: none.
        guessed: trainings of which no earlier step tells anything.
        here: they run on devices that this machine has.
    """

    seconds: Mapping[str, float]
    schedule: Schedule
    total: float
    told_by: int
    guessed: tuple[str, ...]
    here: bool = True

    @property
    def grounds(self) -> str:
        """What the times of trainings rest on, in a few words."""
        earlier = f"from {self.told_by} earlier training{'s' * (self.told_by > 1)} on this machine"
        if not self.guessed:
            return earlier
        guess = f"a guess, within a factor of {FACTOR}" if self.here else GUESS_ELSEWHERE
        if self.told_by:
            return f"{earlier}; of {', '.join(self.guessed)} {guess}"
        return f"no run yet on this machine: {guess}"


def expecting(plan: Plan, recipe: Recipe) -> Plan:
    """The plan, with what can be told of text that is not read yet."""
    made = [p.artifact.folder for p in plan.steps if p.step.name == "blocks" and p.artifact]
    blocks = counted_blocks(made[0]) if made else expected_blocks(recipe, plan.expected.vocab_size)
    return replace(plan, expected=replace(plan.expected, blocks=blocks))


def estimate(
    plan: Plan,
    costs: Mapping[str, Cost],
    recipe: Recipe,
    local: bool,
    cluster: Cluster | None = None,
    cores: float | None = None,
) -> Estimate:
    """How long the missing steps of a plan take.

    Args:
        plan: see :func:`expecting`.
        costs: of its missing steps.
        recipe: says what they are given.
        local: without Ray.
        cluster: where they run; None: on this machine.
        cores: that others leave of this machine's; None: all.

    Raises:
        ResourceError: what the recipe asks for does not fit.
    """
    timing = _Timing(plan, costs, recipe, local, cluster, noted())
    steps = [planned.step for planned in plan.missing]
    alone = {planned.name: timing.seconds(planned) for planned in plan.missing}
    slots, ranks = (1, {}) if local else (timing.each.slots, ranks_of(plan, costs))
    cores = cluster.cpus if cluster else cores or os.cpu_count() or 1
    schedule = makespan({**timing.workers(), **timing.timed(steps, alone)}, slots, ranks=ranks, cores=cores)
    seconds = {name: schedule.ends[name] - schedule.begins[name] - BETWEEN for name in alone}
    total = schedule.seconds + (timing.session() / pace(1.0, cores) if steps else 0.0)
    return Estimate(seconds, schedule, total, len(timing.tellers), tuple(timing.guessed), timing.here)


def ranks_of(plan: Plan, costs: Mapping[str, Cost]) -> dict[str, float]:
    """By step, the operations of the longest chain of missing steps that begins with it: how early it goes.

    Args:
        plan: of steps.
        costs: of its missing steps.
    """
    return longest_paths({p.name: Timed(costs[p.name].flops, tuple(p.step.inputs.values())) for p in plan.missing})


class _Timing:
    """Seconds of steps by themselves."""

    def __init__(
        self,
        plan: Plan,
        costs: Mapping[str, Cost],
        recipe: Recipe,
        local: bool,
        cluster: Cluster | None,
        notes: Sequence[Note],
    ) -> None:
        self._plan, self._costs, self._recipe, self._local = plan, costs, recipe, local
        self._cluster, self._notes, self._text = cluster, notes, text_tokens(plan.expected)
        self.each, self._alone = expected_shares(recipe.resources, local, cluster)
        self.here = self.each.device == "cpu" or gpus() > 0
        self._peaks: dict[Conditions, float] = {}
        trainings = [planned.step for planned in plan.missing if planned.step.stage.distributed]
        self._standing = 0 if local or cluster else standing(trainings, self.each)
        self.tellers: set[Note] = set()
        self.guessed: list[str] = []

    def session(self) -> float:
        """Of the command beside its steps."""
        ray = not self._local
        before = seconds_of(SESSION, ray, self._notes) or SESSION_SECONDS[ray]
        return EDGE + before * (1 + ENDS if ray else 1)

    def workers(self) -> dict[str, Timed]:
        """Workers that get ready from the beginning, as steps that trainings need: they import beside other work."""
        each = Timed(seconds_of(WORKER, True, self._notes) or STANDS, busy=1.0)
        return {f"worker {number}": each for number in range(self._standing)}

    def timed(self, steps: Sequence[Step], seconds: Mapping[str, float]) -> dict[str, Timed]:
        """Steps as the executor and the admission run them, with what passes between them.

        Args:
            steps: to be run; without Ray one after the other.
            seconds: of each by itself.
        """
        found, workers = {}, tuple(self.workers())[:1]
        for step in steps:
            computes = step.stage.distributed or step.stage.accelerated
            slots: Takes = "all" if step.alone and not self._local else "slot"
            needs = (*step.inputs.values(), *(workers if computes else ()))
            busy = busy_cores(step, self.each, self._alone)
            takes: Takes = slots if computes or self._local else "nothing"
            found[step.name] = Timed(seconds[step.name] + BETWEEN, needs, takes, busy)
        return found

    def seconds(self, planned: PlannedStep) -> float:
        """Of one step."""
        cost, step = self._costs[planned.name], planned.step
        work = work_of(planned, cost, self._text)
        conditions = conditions_of(step, cost, self._recipe.resources, self._local, self._cluster)
        trains = step.stage.distributed
        known = speed_of(work, conditions, self._notes, trains=trains)
        if known is None:
            if cost.training:
                self.guessed.append(planned.name)
            return self._guess(step, work, conditions)
        if cost.training:
            self.tellers.update(known.notes)
        speed = known.speed
        if work.unit == "flops" and work.size > LIKE * known.notes[0].size:  # a larger model keeps a core busier
            speed = math.sqrt(speed * max(speed, self._reached(conditions)))
        return known.start + self._start(step, work) + work.amount / speed / (self.each.workers if trains else 1)

    def _guess(self, step: Step, work: Work, conditions: Conditions) -> float:
        if work.unit == "flops":
            trains = step.stage.distributed
            start = self._start(step, work) if trains else 0.0 if self._standing else TASK[conditions.ray]
            return start + work.amount / self._reached(conditions) / (self.each.workers if trains else 1)
        if work.unit == "seconds":
            return work.amount
        if work.unit == "tokens":
            gain = float((conditions.threads / 2) ** THREADS_GAIN)
            return DATA_SECONDS + work.amount / (TEXT_SPEED.get(type(step.stage).__name__, 2e6) * gain)
        return DATA_SECONDS

    def _start(self, step: Step, work: Work) -> float:
        """Seconds of a training beside its loop."""
        if not step.stage.distributed:
            return 0.0
        stands = self._standing > 0
        noted = start_of(work.kind, not self._local, stands, self._notes)
        if noted is not None:
            return noted
        return START if self._local or stands else FIRST

    def _reached(self, conditions: Conditions) -> float:
        """Operations a second, as a guess."""
        reached = EFFICIENCY[conditions.arithmetic] * self._peak(conditions)
        if conditions.device == "cpu" and conditions.arithmetic == "bf16":
            beside = EFFICIENCY["fp32"] * self._peak(replace(conditions, arithmetic="fp32"))
            return 1 / (1 / reached + 1 / beside)
        return reached

    def _peak(self, conditions: Conditions) -> float:
        if not self.here:
            return GPU_FLOPS[conditions.arithmetic]
        if conditions not in self._peaks:
            measured = matmul_flops_per_second(conditions.device, conditions.arithmetic)
            if conditions.device == "cpu":  # on several threads whatever else is at work would be measured
                measured *= float(conditions.threads**THREADS_GAIN)
            self._peaks[conditions] = measured
        return self._peaks[conditions]


def matmul_flops_per_second(device: str = "cpu", kind: str = "fp32", repeats: int = 5) -> float:
    """Operations a second of a matrix product, on one thread of a CPU, by the library that trainings multiply with.

    Args:
        device: "cpu" or "cuda".
        kind: "fp32" or "bf16".
        repeats: the fastest of so many counts.
    """
    import torch

    from orchestrator.products import product

    size, before = 8192 if device == "cuda" else 512, torch.get_num_threads()
    a = torch.randn(size, size, dtype=torch.bfloat16 if kind == "bf16" else torch.float32, device=device)
    best = float("inf")
    torch.set_num_threads(1)
    try:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            float(product(a, a)[0, 0])  # reading a value waits for the device
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return 2 * size**3 / best
