"""`mome mixture`: the versions of a run's mixture."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.arguments import DEFAULT_RUNS, RunName, Runs

app = typer.Typer(no_args_is_help=True, help="List, show and choose the versions of a run's mixture.")


@app.command("list")
def list_(name: RunName, runs: Runs = DEFAULT_RUNS) -> None:
    """Print the versions: what each came from, its languages, and which is current.

    Example:

        mome mixture list quickstart
    """
    from orchestrator.cli.growing import list_versions

    list_versions(name, runs)


@app.command()
def show(
    name: RunName,
    version: Annotated[int | None, typer.Argument(help="Its number; the current one.", show_default=False)] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Print the parts of a version: what each was made from, and when.

    Example:

        mome mixture show quickstart 2
    """
    from orchestrator.cli.growing import show_version

    show_version(name, version, runs)


@app.command()
def use(
    name: RunName,
    version: Annotated[int, typer.Argument(help="Its number.", show_default=False)],
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Make a version the current one, which is generated from, served and grown. Goes back, or forward again.

    Example:

        mome mixture use quickstart 1
    """
    from orchestrator.cli.growing import use_version

    use_version(name, version, runs)
