"""What a run would do, as a record that a person can print and a program can read."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.api.extras import needs_cluster
from orchestrator.api.running import Wanted, drift_line
from orchestrator.artifacts import Store
from orchestrator.config.cluster_file import read_cluster
from orchestrator.config.recipe import Recipe, ResourcesConfig
from orchestrator.nodes import Cluster
from orchestrator.pipeline.plan import Plan, run_folder
from orchestrator.place import runs_folder
from orchestrator.resources import expected_shares
from orchestrator.stages.base import Cost

_MUCH = 0.3
"""Cores that others keep busy, of which a plan tells."""


@dataclass(frozen=True)
class StepPlan:
    """A step of a run to come.

    Attributes:
        name: of the step.
        cached: it is there and is not made again.
        cost: what it is expected to take; of a cached one nothing.
        seconds: the same as wall time, by itself.
        begins: when it begins, in seconds from the beginning of the first step.
    """

    name: str
    cached: bool
    cost: Cost
    seconds: float
    begins: float


@dataclass(frozen=True)
class RunPlan:
    """What a run would do. `str()` of it is a table.

    Example:
        >>> from orchestrator import plan
        >>> print(plan("quickstart"))

    Attributes:
        name: of the run.
        steps: in the order of the data.
        seconds: expected from the start to the report, with trainings side by side where there are slots for them.
        grounds: what the seconds rest on ("from 5 earlier trainings on this machine"); "": nothing is trained.
        memory_bytes: of the largest worker.
        disk_bytes: of large results, all together.
        device: "cpu" or "cuda".
        slots: trainings at the same time.
        cluster: the nodes that the plan reckons with ("2 nodes: 2 x (48 CPUs, 4 GPUs)"); "": this machine.
        drift: what differs between what made the cached steps and what is installed; "": nothing.
        taken: cores of this machine that others keep busy now; the seconds reckon with it.
    """

    name: str
    steps: tuple[StepPlan, ...]
    seconds: float
    grounds: str
    memory_bytes: int
    disk_bytes: int
    device: str
    slots: int
    cluster: str
    drift: str
    taken: float = 0.0

    @property
    def missing(self) -> tuple[StepPlan, ...]:
        """The steps that have to run."""
        return tuple(step for step in self.steps if not step.cached)

    @property
    def title(self) -> str:
        """How many of the steps have to run."""
        on = f", on {self.cluster}" if self.cluster else ""
        return f"{self.name}: {len(self.missing)} of {len(self.steps)} stages to run{on}"

    @property
    def outlook(self) -> tuple[str, ...]:
        """Sentences on the time of all steps, and on where a large teacher lies; none where nothing has to run."""
        if not self.missing:
            return ()
        at_once = f"{self.slots} trainings at a time" if self.slots > 1 else "one training at a time"
        where = "the cluster" if self.cluster else "this machine"
        said = f"expected in all: about {duration(self.seconds)}, {at_once} on the {self.device} of {where}"
        if self.taken >= _MUCH:
            said += f", whose other work takes {self.taken:.1f} cores now"
        notes = dict.fromkeys(step.cost.note for step in self.missing if step.cost.note)
        return (said, *([f"times of trainings: {self.grounds}"] if self.grounds else []), *notes)

    def __str__(self) -> str:
        rows = [("stage", "state", "time")]
        rows += [
            (s.name, "cached" if s.cached else "to run", "" if s.cached else duration(s.seconds)) for s in self.steps
        ]
        width = max(len(row[0]) for row in rows)
        lines = [f"{name:<{width}}  {state:<6}  {time:>8}".rstrip() for name, state, time in rows]
        return "\n".join([self.title, *lines, *self.outlook, *filter(None, [self.drift])])


def run_plan(recipe: Recipe, runs: Path, wanted: Wanted, local: bool, cluster: Path | None = None) -> RunPlan:
    """The plan of a recipe, see :func:`orchestrator.api.plan`.

    Raises:
        MomeError: the recipe can't work.
    """
    on = cluster_of(recipe.resources, local, cluster)
    store = Store(run_folder(runs_folder(runs), recipe))
    return planned_run(recipe, wanted.plan(recipe, store), local, on)


def cluster_of(resources: ResourcesConfig, local: bool, file: Path | None) -> Cluster | None:
    """The cluster that a plan reckons with: the described one, else the one that RAY_ADDRESS names; None: this machine.

    Args:
        resources: of the recipe.
        local: run without Ray.
        file: that describes a cluster.

    Raises:
        ResourceError: the file describes none, or the cluster does not answer.
    """
    if file is not None:
        return read_cluster(file).largest(resources.device != "cpu")
    address = os.environ.get("RAY_ADDRESS")
    if local or not address:
        return None
    with needs_cluster(", or add --local"):
        from orchestrator.cluster.shapes import ask
    return ask(address)


def planned_run(recipe: Recipe, plan: Plan, local: bool, cluster: Cluster | None = None) -> RunPlan:
    """What running a plan would do and take, on a cluster or (None) on this machine.

    Raises:
        MomeError: the configuration can't work, or does not fit.
    """
    from orchestrator.pipeline.estimate import estimate, expecting
    from orchestrator.pipeline.pace import free_cores

    each, _ = expected_shares(recipe.resources, local, cluster)
    costs: dict[str, Cost] = {}
    seconds, begins, grounds, total, taken = dict[str, float](), dict[str, float](), "", 0.0, 0.0
    if plan.missing:
        plan = expecting(plan, recipe)
        if cluster is not None:
            plan = replace(plan, expected=replace(plan.expected, memory=None))
        costs = {planned.name: plan.cost(planned) for planned in plan.missing}
        here = os.cpu_count() or 1
        free = None if cluster or each.device != "cpu" else free_cores(here)
        taken = here - free if free else 0.0
        found = estimate(plan, costs, recipe, local, cluster, free)
        seconds, begins, total = dict(found.seconds), dict(found.schedule.begins), found.total
        grounds = found.grounds if any(cost.training for cost in costs.values()) else ""
    steps = [
        StepPlan(
            p.name, p.artifact is not None, costs.get(p.name, Cost()), seconds.get(p.name, 0), begins.get(p.name, 0)
        )
        for p in plan.steps
        if p.wanted
    ]
    return RunPlan(
        name=recipe.name,
        steps=tuple(steps),
        seconds=total,
        grounds=grounds,
        memory_bytes=max((step.cost.memory_bytes for step in steps), default=0),
        disk_bytes=sum(step.cost.disk_bytes for step in steps),
        device=each.device if plan.missing else "",
        slots=each.slots if plan.missing else 1,
        cluster=str(cluster or ""),
        drift=drift_line(plan),
        taken=round(taken, 1),
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
