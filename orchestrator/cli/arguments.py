"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeFile = Annotated[
    Path,
    typer.Argument(help="A recipe's file, or the name of one that comes with MoME.", show_default=False),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Fields to change: section.field=value.", show_default=False)
]
Runs = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
RunName = Annotated[str, typer.Argument(help="Name of a run, or its folder.", show_default=False)]
Local = Annotated[bool, typer.Option("--local", help="Run in this process, without Ray.")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Print the stages, what is cached, and what the rest costs.")]
DEFAULT_RUNS = Path("runs")
