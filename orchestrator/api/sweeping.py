"""Run a sweep, or plan it: on Ray or in this process, with Ray Tune where the sweep searches or stops early."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from orchestrator.api.extras import needs_cluster
from orchestrator.api.plans import RunPlan, cluster_of, planned_run
from orchestrator.api.recipes import recipe_file
from orchestrator.api.running import Wanted, opened_runner, tell_drift
from orchestrator.config.sweep import equal_time_name
from orchestrator.errors import ResourceError
from orchestrator.locks import locked
from orchestrator.sweeps.run import Display, SweepRun, Tune, read_sweep

_say = partial(print, flush=True)


def run_sweep(
    file: Path | str,
    overrides: Sequence[str],
    runs: Path,
    wanted: Wanted,
    display: Display,
    *,
    accept: bool,
    local: bool,
) -> Path:
    """Run a sweep, see :func:`orchestrator.api.sweep`.

    Raises:
        MomeError: see :meth:`orchestrator.sweeps.run.SweepRun.work`; Ray is not installed.
    """
    run = read_sweep(recipe_file(file, "sweep"), overrides, runs, force=wanted.force, strict=wanted.strict)
    tune = _tune(run, local)
    with locked(run.store.root, _say):
        run.store.clean()
        tell_drift(run.plan, accept, _say)
        return run.work(partial(opened_runner, local=local, say=_say), tune, display)


def sweep_plan(
    file: Path | str, overrides: Sequence[str], runs: Path, wanted: Wanted, local: bool, cluster: Path | None = None
) -> tuple[RunPlan, list[str]]:
    """The plan of all trials that are known, and sentences on the trials that results will add.

    Raises:
        MomeError: the sweep can't work.
    """
    run = read_sweep(recipe_file(file, "sweep"), overrides, runs, force=wanted.force, strict=wanted.strict, adopt=False)
    on = cluster_of(run.base.resources, local, cluster)
    plan, notes = planned_run(run.base, run.plan, local, on), []
    if run.agenda.unasked:
        notes.append(f"then {run.agenda.unasked} configurations that Optuna suggests, with each seed")
    if controls := run.agenda.undecided:
        notes.append(f"then, with as many tokens as results tell: {', '.join(map(equal_time_name, controls))}")
    return plan, notes


def _tune(run: SweepRun, local: bool) -> Tune | None:
    """What searches and stops early, where the sweep asks for that.

    Raises:
        ResourceError: without Ray nothing does.
    """
    search = run.sweep.search
    optuna = search is not None and search.type == "optuna"
    if not (optuna or run.sweep.asha):
        return None
    if local:
        what, field = ("a search by Optuna", "search") if optuna else ("early stopping", "asha")
        raise ResourceError(f"{what} needs Ray Tune", f"{run.file}: {field}", f"leave out --local, or {field}")
    with needs_cluster():
        from orchestrator.cluster.tuning import check_optuna, tuning
    if optuna:
        check_optuna()
    return tuning
