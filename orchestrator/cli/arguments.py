"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeFile = Annotated[
    Path,
    typer.Argument(help="A recipe's file, or the name of one that comes with MoME.", show_default=False),
]
SweepFile = Annotated[
    Path,
    typer.Argument(help="A sweep's file, or the name of one that comes with MoME.", show_default=False),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Fields to change: section.field=value.", show_default=False)
]
BenchOptions = Annotated[list[str] | None, typer.Argument(help="Its options: option=value.", show_default=False)]
Runs = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
RunName = Annotated[str, typer.Argument(help="Name of a run, or its folder.", show_default=False)]
Local = Annotated[bool, typer.Option("--local", help="Run in this process, without Ray.")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Print the stages, what is cached, and what the rest costs.")]
ClusterFile = Annotated[
    Path | None, typer.Option("--cluster", help="With --plan: for the cluster that this file describes.")
]
Strict = Annotated[bool, typer.Option(help="Run stages again whose code or libraries have changed.")]
Accept = Annotated[bool, typer.Option(help="Record that stages made with other code are as good.")]
Experts = Annotated[str | None, typer.Option(help="Only these experts may serve (en,py): the most probable of them.")]
Force = Annotated[list[str] | None, typer.Option(help="Run this stage again, and all that depends on it.")]
DEFAULT_RUNS = Path("runs")
_BESIDE = Path(__file__).parents[2]
"""Where the package lies: in a clone, the benchmarks lie there too."""
BENCHES = ", ".join(sorted(file.stem for file in (_BESIDE / "benchmarks").glob("[!_]*.py"))) or "in a clone only"


def check_together(plan: bool, strict: bool, accept: bool, local: bool, cluster: Path | None) -> None:
    """Make sure that options make sense together.

    Raises:
        BadParameter: they don't.
    """
    if plan and accept:
        raise typer.BadParameter("--plan changes nothing: give --accept without it")
    if strict and accept:
        raise typer.BadParameter("--strict makes again what --accept takes as it is: give one of them")
    if cluster and (local or not plan):
        raise typer.BadParameter("--cluster describes where to run: it goes with --plan, and not with --local")


def named(experts: str | None) -> list[str] | None:
    """The experts of the option `experts`; None: all."""
    return None if experts is None else [part.strip() for part in experts.split(",") if part.strip()]
