"""`mome run`: plan, lock, run what is missing, say where the report is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.artifacts import MANIFEST, Artifact, Store, locked, write_json
from orchestrator.cli.extras import needs_cluster
from orchestrator.cli.plan import tell_drift
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import Recipe
from orchestrator.disk import place_folder
from orchestrator.mixtures.versions import Versions, record_run
from orchestrator.pipeline.plan import Plan, make_plan, run_folder
from orchestrator.place import runs_folder
from orchestrator.tracking import Observer, RunFacts, mlflow_tracker

if TYPE_CHECKING:
    from orchestrator.pipeline.execute import Runner

DEFAULT_RUNS = Path("runs")


def run_recipe(
    recipe_file: Path,
    overrides: Sequence[str] = (),
    *,
    until: Sequence[str] = (),
    force: Sequence[str] = (),
    strict: bool = False,
    accept: bool = False,
    local: bool = False,
    runs: Path = DEFAULT_RUNS,
) -> dict[str, Artifact]:
    """Run a recipe to its end, or to `until`, and return the artifact of every step.

    For `strict` and `accept` see :mod:`orchestrator.provenance`.

    Raises:
        MomeError: what a person can mend; nothing half-written stays, and finished stages are kept.
    """
    recipe = load_recipe(recipe_file, overrides)
    store = Store(run_folder(runs_folder(runs), recipe))
    with locked(store.root):
        store.clean()
        plan = make_plan(recipe, store, until, force, strict=strict, adopt=True)
        if accept:
            print(f"accepted: {', '.join(plan.accept()) or 'nothing, as nothing differs'}")
        tell_drift(plan)
        if plan.missing:
            artifacts = execute_plan(recipe, plan, local, partial(_settle, recipe, store))
        else:
            artifacts = {p.name: p.artifact for p in plan.steps if p.artifact is not None}
            _settle(recipe, store, artifacts)
            wanted = sum(planned.wanted for planned in plan.steps)
            print(f"nothing to do: all {wanted} stages of {recipe.name} are done")
    if "report" in artifacts:
        print(f"report: {_shown(store.root / 'report' / 'index.html')}")
    return artifacts


def execute_plan(
    recipe: Recipe, plan: Plan, local: bool, settle: Callable[[Mapping[str, Artifact]], Path | None]
) -> dict[str, Artifact]:
    """Run what a plan lacks, on Ray or in this process, under the eyes of the display and the tracker.

    Args:
        recipe: says where things run and are tracked. plan: of steps. local: without Ray.
        settle: is given the artifact of every step when all are there, and returns the folder of the report, if any.

    Raises:
        MomeError: see :func:`orchestrator.pipeline.execute.execute`.
    """
    from orchestrator.pipeline.execute import execute

    for planned in plan.missing:  # a configuration that can't work is found before anything starts
        plan.cost(planned)
    with ExitStack() as stack:
        report: list[Path] = []  # filled when the run has come to one
        observers = stack.enter_context(_observers(recipe, plan, report))
        runner = _local_runner(recipe) if local else _ray_runner(recipe, stack)
        stack.callback(runner.close)
        artifacts = execute(plan, runner, observers)
        if found := settle(artifacts):
            report.append(found)
    return artifacts


def _local_runner(recipe: Recipe) -> Runner:
    from orchestrator.pipeline.local import LocalRunner

    return LocalRunner(recipe.resources)


def _ray_runner(recipe: Recipe, stack: ExitStack) -> Runner:
    with needs_cluster(", or add --local"):
        from orchestrator.cluster.runner import RayRunner
        from orchestrator.cluster.session import session
    stack.enter_context(session(recipe.resources))
    return RayRunner(recipe.resources)


@contextmanager
def _observers(recipe: Recipe, plan: Plan, report: list[Path]) -> Iterator[list[Observer]]:
    from orchestrator.cli.progress import progress_display

    observers: list[Observer] = [progress_display()]
    if tracker := _tracker(recipe, plan):
        observers.append(tracker)
    try:
        yield observers
    finally:
        for observer in observers:
            observer.close(report[0] if report else None)


def _tracker(recipe: Recipe, plan: Plan) -> Observer | None:
    if recipe.tracking.type == "none":
        return None
    facts = RunFacts(
        name=recipe.name,
        folder=plan.store.root,
        experiment=recipe.tracking.experiment,
        parameters=recipe.model_dump(mode="json", exclude={"resources", "tracking"}),
        fingerprints={planned.name: planned.fingerprint for planned in plan.steps},
        configs={planned.name: planned.step.stage.model_dump(mode="json") for planned in plan.steps},
    )
    return mlflow_tracker(facts)


def _settle(recipe: Recipe, store: Store, artifacts: Mapping[str, Artifact]) -> Path | None:
    """Point the run's folder at these artifacts: `artifacts.json`, `recipe.json`, a version of the mixture, and the
    report where people look.
    """
    store.set_current(recipe.name, artifacts)
    write_json(store.root / "recipe.json", recipe.model_dump(mode="json"))
    versions = Versions(store.root)
    before, made, current = versions.current(), record_run(store), versions.current()
    if made and current and made.number != current.number:  # the mixture has been changed since
        back = f"mome mixture use {store.root.name} {made.number}"
        print(f"version {current.number} ({current.action}) stays the current one; {back} goes back to this run's")
        return None
    if before and current and before.number != current.number:
        kept = f"version {before.number} ({before.action}) is kept: mome mixture list {store.root.name}"
        print(f"version {current.number} of the mixture is the current one; {kept}")
    return place_report(store.root, artifacts.get("report"))


def place_report(root: Path, report: Artifact | None) -> Path | None:
    """Copy the artifact of a report to where people look for it, and say where that is; None where there is none."""
    if report is None:
        return None
    place = root / "report"
    if not _same(place / MANIFEST, report.folder / MANIFEST):
        place_folder(place, partial(shutil.copytree, report.folder, dirs_exist_ok=True))
    return place


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _shown(path: Path) -> str:
    """A path as short as it can be typed."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
