"""`mome run`: the run under the eyes of the terminal, and where its report is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator import api
from orchestrator.cli.arguments import DEFAULT_RUNS
from orchestrator.cli.progress import progress_display


def run_recipe(
    recipe: Path,
    overrides: Sequence[str] = (),
    *,
    until: Sequence[str] = (),
    force: Sequence[str] = (),
    strict: bool = False,
    accept: bool = False,
    local: bool = False,
    runs: Path = DEFAULT_RUNS,
) -> None:
    """Run a recipe, see :func:`orchestrator.api.run`, and print where its report is, if it has come to one.

    Raises:
        MomeError: what a person can mend.
    """
    made = api.run(
        recipe,
        *overrides,
        runs=runs,
        until=until,
        force=force,
        strict=strict,
        accept=accept,
        local=local,
        display=progress_display(),
    )
    if "report" in made.artifacts:
        print(f"report: {_shown(made.report)}")


def _shown(path: Path) -> str:
    """A path as short as it can be typed."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
