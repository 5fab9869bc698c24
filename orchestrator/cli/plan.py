"""`mome run --plan`: which stages are cached, what the others are expected to cost and how long they should take."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.artifacts import Store
from orchestrator.cli.arguments import DEFAULT_RUNS
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import Recipe
from orchestrator.pipeline.plan import Plan, make_plan, run_folder
from orchestrator.place import runs_folder
from orchestrator.provenance import told
from orchestrator.stages.base import Cost

if TYPE_CHECKING:
    from orchestrator.pipeline.estimate import Estimate, Machine


def print_plan(
    recipe_file: Path,
    overrides: Sequence[str] = (),
    *,
    until: Sequence[str] = (),
    force: Sequence[str] = (),
    strict: bool = False,
    local: bool = False,
    runs: Path = DEFAULT_RUNS,
) -> None:
    """Print the stages of a recipe, which are cached, and what the others are expected to cost. Starts nothing.

    Raises:
        MomeError: the recipe can't work.
    """
    recipe = load_recipe(recipe_file, overrides)
    store = Store(run_folder(runs_folder(runs), recipe))
    show_plan(recipe, make_plan(recipe, store, until, force, strict=strict), local)


def show_plan(recipe: Recipe, plan: Plan, local: bool = False) -> None:
    """Print the wanted steps of a plan, which are cached, and what the others are expected to cost and to take.

    Times are of this machine, and take a few seconds to find out.

    Raises:
        MomeError: the configuration can't work.
    """
    console = Console()
    if not plan.missing:
        console.print(_table(recipe, plan, {}, {}))
        tell_drift(plan)
        return
    from orchestrator.pipeline.estimate import estimate, expecting

    machine = _machine(recipe, local)
    plan = expecting(plan, recipe)
    costs = {planned.name: plan.cost(planned) for planned in plan.steps}
    with console.status("taking a few micro-batches of every kind of training"):
        expected = estimate(plan, costs, machine)
    console.print(_table(recipe, plan, costs, expected.seconds))
    tell_drift(plan)
    at_once = f"{machine.slots} trainings at a time" if machine.slots > 1 else "one training at a time"
    console.print(
        f"expected in all: about {_duration(expected.total)}, {at_once} on the {machine.device} of this machine"
    )
    if trainings := sum(costs[p.name].training is not None for p in plan.missing):
        console.print(_grounds(trainings, expected))


def tell_drift(plan: Plan) -> None:
    """One line where stages that are there were made with other code or libraries than are installed."""
    if line := told(plan.drifts()):
        print(f"drift: {line}; --strict makes these again, --accept says that they are as good")


def _table(recipe: Recipe, plan: Plan, costs: Mapping[str, Cost], seconds: Mapping[str, float]) -> Table:
    shown = [planned for planned in plan.steps if planned.wanted]
    title = f"{recipe.name}: {len(plan.missing)} of {len(shown)} stages to run"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("stage", "state", "params", "tokens", "FLOPs", "memory", "disk", "time"):
        table.add_column(heading, justify="left" if heading in ("stage", "state") else "right", no_wrap=True)
    for planned in shown:
        if planned.artifact:
            table.add_row(planned.name, "cached")
            continue
        cost = costs[planned.name]
        sizes = (f"{_short(size)}B" if size else "" for size in (cost.memory_bytes, cost.disk_bytes))
        numbers = (_short(cost.parameters), _short(cost.tokens), _short(cost.flops), *sizes)
        table.add_row(planned.name, "to run", *numbers, _duration(seconds[planned.name]))
    return table


def _grounds(trainings: int, expected: Estimate) -> str:
    """What the times of trainings rest on."""
    reckoned = trainings - expected.recorded - expected.rehearsed
    grounds = {
        "as such trainings took on this machine": expected.recorded,
        "by a few micro-batches taken now": expected.rehearsed,
        "by FLOPs, roughly: no run of the kind on this machine yet, and too long to try": reckoned,
    }
    return "times of trainings: " + "; ".join(f"{n} {ground}" for ground, n in grounds.items() if n)


def _machine(recipe: Recipe, local: bool) -> Machine:
    """What this machine gives each training, as the runner will."""
    import torch

    from orchestrator.pipeline.estimate import Machine
    from orchestrator.resources import allocate

    resources, cpus, gpus = recipe.resources, os.cpu_count() or 1, torch.cuda.device_count()
    if resources.device == "cuda" and gpus < resources.workers:
        resources = resources.model_copy(
            update={"device": "cpu"}
        )  # the plan of a GPU recipe is also of use on a laptop
    alone = allocate(resources.model_copy(update={"slots": 1}), cpus, gpus)
    each = alone if local else allocate(resources, cpus, gpus)
    return Machine(each.device, each.slots, each.workers, each.threads, alone.threads, ray=not local)


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def _short(number: float) -> str:
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}" if number else ""
