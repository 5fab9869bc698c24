"""MoME from Python: run a recipe, see what a run would do, open what a run has made.

`mome` and `jobs/` call these functions and print what they return. All of them work in a notebook: nothing here needs a
terminal, and a running event loop is no hindrance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.plans import RunPlan as RunPlan
from orchestrator.api.plans import StepPlan as StepPlan
from orchestrator.api.plans import run_plan
from orchestrator.api.recipes import read_recipe
from orchestrator.api.running import Audience, Wanted, run_recipe
from orchestrator.api.runs import Run as Run
from orchestrator.api.runs import open_run
from orchestrator.config.recipe import Recipe
from orchestrator.tracking import Observer
from orchestrator.tracking.lines import LogLines

if TYPE_CHECKING:
    from orchestrator.sweeps.run import Display

DEFAULT_RUNS = "runs"


def run(
    recipe: Recipe | Path | str,
    *overrides: str,
    runs: Path | str = DEFAULT_RUNS,
    until: Sequence[str] | str = (),
    force: Sequence[str] | str = (),
    strict: bool = False,
    accept: bool = False,
    local: bool = False,
    quiet: bool = False,
    display: Observer | None = None,
) -> Run:
    """Run a recipe, from text to its report. What is done already is not done again.

    Example:
        >>> from orchestrator import run
        >>> made = run("quickstart", "name=hotter", "experts.distillation.soft.temperature=2", local=True)
        >>> made.results.experts["en"]["en"].perplexity

    Args:
        recipe: a recipe, its file, or the name of one that comes with MoME (``"quickstart"``).
        overrides: fields to change, ``section.field=value`` with the value in YAML.
        runs: folder that holds the runs.
        until: steps to stop after; ``"experts"`` stands for every expert. None: to the report.
        force: steps to run again, with all that depends on them.
        strict: run steps again whose code or libraries have changed since they were made.
        accept: record that steps made with other code or libraries are as good.
        local: run in this process, without Ray.
        quiet: print nothing.
        display: is told of the run's events; None: they are printed as plain lines.

    Raises:
        MomeError: what a person can mend. Finished steps are kept, and the same call goes on from there.
    """
    wanted, audience = Wanted.of(until, force, strict), Audience.of(display, quiet)
    found = read_recipe(recipe, overrides)
    return Run(run_recipe(found, Path(runs), wanted, audience, accept=accept, local=local))


def plan(
    recipe: Recipe | Path | str,
    *overrides: str,
    runs: Path | str = DEFAULT_RUNS,
    until: Sequence[str] | str = (),
    force: Sequence[str] | str = (),
    strict: bool = False,
    local: bool = False,
    cluster: Path | str | None = None,
) -> RunPlan:
    """What :func:`run` would do with the same arguments, and how long that takes. Starts nothing and trains nothing.

    Where RAY_ADDRESS names a cluster, the plan asks it for its nodes.

    Example:
        >>> from orchestrator import plan
        >>> expected = plan("quickstart", local=True)
        >>> [step.name for step in expected.steps if not step.cached]
        >>> expected.seconds, expected.grounds

    Args:
        recipe, overrides, runs, until, force, strict, local: see :func:`run`.
        cluster: a file that describes a cluster (Ray's or KubeRay's), with as many nodes as it allows.

    Returns:
        The steps, each cached or with its cost and seconds; seconds, memory and disk of all of them.

    Raises:
        ResourceError: the cluster does not answer, or what the recipe asks for does not fit on its nodes.
        MomeError: the recipe can't work, a source is missing, or an artifact is damaged.
    """
    found = read_recipe(recipe, overrides)
    described = None if cluster is None else Path(cluster)
    return run_plan(found, Path(runs), Wanted.of(until, force, strict), local, described)


def load_run(folder_or_name: Path | str, runs: Path | str = DEFAULT_RUNS) -> Run:
    """Open a run that is there.

    Example:
        >>> from orchestrator import load_run
        >>> made = load_run("quickstart")
        >>> made.results.router.scores[made.results.router.used].accuracy
        >>> made.generate("The history of the", max_tokens=32).text

    Args:
        folder_or_name: its folder, or its name in `runs`.
        runs: folder that holds the runs.

    Raises:
        ArtifactError: there is no such run; the error names those that there are.
    """
    return Run(open_run(str(folder_or_name), Path(runs)).root)


def sweep(
    file: Path | str,
    *overrides: str,
    runs: Path | str = DEFAULT_RUNS,
    force: Sequence[str] | str = (),
    strict: bool = False,
    accept: bool = False,
    local: bool = False,
    display: Display | None = None,
) -> Path:
    """Run the trials of a sweep that are not done yet, and write its report.

    Ray Tune searches and stops early where the sweep asks for that; every other sweep works without Ray too.

    Example:
        >>> from orchestrator.api import sweep
        >>> sweep("sweep", "seeds=[1,2,3]")
        PosixPath('runs/sweep/report')

    Args:
        file: of the sweep, or the name of one that comes with MoME.
        overrides: fields of the sweep to change.
        runs: folder that holds the runs.
        force: steps to run again, with all that depends on them; ``"trials"`` stands for the trainings of all trials.
        strict: run steps again whose code or libraries have changed since they were made.
        accept: record that steps made with other code or libraries are as good.
        local: run in this process, without Ray.
        display: makes an observer that shows the trials, of which it is given a mapping by name; None: plain lines.

    Returns:
        The folder of the report.

    Raises:
        StageFailedError: trials failed; the others are in the report. ResourceError: Ray is not installed.
        MomeError: the sweep, or a recipe of it, can't work.
    """
    from orchestrator.api.sweeping import run_sweep

    wanted, shown = Wanted.of((), force, strict), display or (lambda _: LogLines())
    return run_sweep(file, overrides, Path(runs), wanted, shown, accept=accept, local=local)
