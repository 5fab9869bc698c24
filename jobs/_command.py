"""What the jobs share: arguments, and errors that a person can mend as a message and exit code 2."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cli.ending import run_to_its_end


def recipe_job(description: str, until: Sequence[str] = ()) -> None:
    """Run a recipe, to its end or until some of its stages, as the command line of the calling module says."""
    arguments = _arguments(description, "recipe", "a recipe, for example jobs/recipes/quickstart.yaml")

    def job() -> None:
        from orchestrator import run

        made = run(arguments.file, *arguments.overrides, until=until, force=arguments.force, runs=arguments.runs)
        if "report" in made.artifacts:
            print(f"report: {made.report}")

    run_to_its_end(job)


def sweep_job(description: str) -> None:
    """Run a sweep, as the command line of the calling module says."""
    arguments = _arguments(description, "sweep", "a sweep, for example jobs/recipes/sweep.yaml")

    def job() -> None:
        from orchestrator.cli.sweep import sweep

        sweep(arguments.file, arguments.overrides, arguments.runs)

    run_to_its_end(job)


def _arguments(description: str, kind: str, help_text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("file", type=Path, metavar=kind.upper(), help=help_text)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"fields of the {kind} to change")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder that holds the runs, on storage that all nodes share"
    )
    if kind == "recipe":
        parser.add_argument("--force", action="append", default=[], metavar="STAGE", help="run this stage again")
    return parser.parse_intermixed_args()
