"""`mome run --plan`: which stages are cached, what the others are expected to cost and how long they should take."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from orchestrator.api.plans import RunPlan, duration
from orchestrator.cli.consoles import table_console


def show_plan(plan: RunPlan) -> None:
    """Print the steps of a plan, which are cached, and what the others are expected to cost and to take."""
    console = table_console()
    console.print(_table(plan))
    for line in filter(None, (plan.drift, *plan.outlook)):
        console.print(line, markup=False, soft_wrap=True)


def _table(plan: RunPlan) -> Table:
    table = Table(title=plan.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("stage", "state", "params", "tokens", "FLOPs", "memory", "disk", "time"):
        table.add_column(heading, justify="left" if heading in ("stage", "state") else "right", no_wrap=True)
    for step in plan.steps:
        if step.cached:
            table.add_row(step.name, "cached")
            continue
        cost = step.cost
        sizes = (f"{_short(size)}B" if size else "" for size in (cost.memory_bytes, cost.disk_bytes))
        numbers = (_short(cost.parameters), _short(cost.tokens), _short(cost.flops), *sizes)
        table.add_row(step.name, "to run", *numbers, duration(step.seconds))
    return table


def _short(number: float) -> str:
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}" if number else ""
