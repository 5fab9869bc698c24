"""`mome data`: the corpus of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.arguments import DEFAULT_RUNS, Local, Overrides, RecipeFile, Runs

app = typer.Typer(no_args_is_help=True, help="Build, inspect and export the corpus of a recipe.")


@app.command("build")
def build(recipe: RecipeFile, overrides: Overrides = None, local: Local = False, runs: Runs = DEFAULT_RUNS) -> None:
    """Build the balanced, packed corpus of a recipe, and print its counts.

    Example:

        mome data build jobs/recipes/quickstart.yaml
    """
    from orchestrator.cli import inspecting
    from orchestrator.cli.run import run_recipe

    run_recipe(recipe, overrides or (), until=("blocks",), local=local, runs=runs)
    inspecting.inspect(recipe, overrides or (), runs, None)


@app.command("inspect")
def inspect(
    recipe: RecipeFile,
    overrides: Overrides = None,
    plot: Annotated[Path | None, typer.Option(help="Write Figure 1's plot here (SVG).")] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Print documents, tokens, characters and duplicates per language and split, and draw Figure 1's plot.

    Example:

        mome data inspect jobs/recipes/quickstart.yaml --plot splits.svg
    """
    from orchestrator.cli import inspecting

    inspecting.inspect(recipe, overrides or (), runs, plot)


@app.command("export")
def export(
    recipe: RecipeFile,
    out: Annotated[Path, typer.Argument(help="Folder to write to.", show_default=False)],
    overrides: Overrides = None,
    layout: Annotated[
        str, typer.Option("--format", help="parquet, or json: the paper's list of {language: article}.")
    ] = "parquet",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Write the balanced documents of a recipe as Parquet or in the paper's JSON layout.

    Example:

        mome data export jobs/recipes/quickstart.yaml exported --format json
    """
    from orchestrator.cli import inspecting

    inspecting.export(recipe, out, overrides or (), layout, runs)
