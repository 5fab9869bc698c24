"""`mome run`: plan, lock, run what is missing, say where the report is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.artifacts import MANIFEST, Artifact, Store, locked, write_json
from orchestrator.cli.extras import needs_cluster
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import Recipe
from orchestrator.disk import place_folder
from orchestrator.pipeline.place import runs_folder
from orchestrator.pipeline.plan import Plan, make_plan, run_folder
from orchestrator.pipeline.versions import Versions, record_run
from orchestrator.provenance import told
from orchestrator.tracking import Observer, RunFacts, mlflow_tracker

if TYPE_CHECKING:
    from orchestrator.pipeline.estimate import Machine
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
            plan.accept()
        _tell_drift(plan)
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


def print_plan(
    recipe_file: Path,
    overrides: Sequence[str] = (),
    *,
    until: Sequence[str] = (),
    force: Sequence[str] = (),
    strict: bool = False,
    local: bool = False,
    runs: Path = DEFAULT_RUNS,
) -> None:
    """Print the stages of a recipe, which are cached, and what the others are expected to cost. Starts nothing.

    Raises:
        MomeError: the recipe can't work.
    """
    recipe = load_recipe(recipe_file, overrides)
    store = Store(run_folder(runs_folder(runs), recipe))
    show_plan(recipe, make_plan(recipe, store, until, force, strict=strict), local)


def show_plan(recipe: Recipe, plan: Plan, local: bool = False) -> None:
    """Print the wanted steps of a plan, which are cached, and what the others are expected to cost and to take.

    Times are of this machine: a few steps of every kind of training are taken.

    Raises:
        MomeError: the configuration can't work.
    """
    from orchestrator.pipeline.estimate import estimate, expecting

    console, machine = Console(), _machine(recipe, local)
    plan = expecting(plan, recipe)
    costs = {planned.name: plan.cost(planned) for planned in plan.steps}
    with console.status("taking a few steps of every kind of training"):
        expected = estimate(plan, costs, machine)
    shown = [planned for planned in plan.steps if planned.wanted]
    title = f"{recipe.name}: {len(plan.missing)} of {len(shown)} stages to run"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("stage", "state", "params", "tokens", "FLOPs", "memory", "disk", "time"):
        table.add_column(heading, justify="left" if heading in ("stage", "state") else "right", no_wrap=True)
    for planned in shown:
        if planned.artifact:
            table.add_row(planned.name, "cached")
            continue
        cost = costs[planned.name]
        sizes = (f"{_short(size)}B" if size else "" for size in (cost.memory_bytes, cost.disk_bytes))
        numbers = (_short(cost.parameters), _short(cost.tokens), _short(cost.flops), *sizes)
        table.add_row(planned.name, "to run", *numbers, _duration(expected.seconds[planned.name]))
    console.print(table)
    _tell_drift(plan)
    at_once = f"{machine.slots} trainings at a time" if machine.slots > 1 else "one training at a time"
    console.print(
        f"expected in all: about {_duration(expected.total)}, {at_once} on the {machine.device} of this machine"
    )
    if reckoned := sum(costs[p.name].training is not None for p in plan.missing) - expected.rehearsed:
        console.print(f"{reckoned} trainings by their FLOPs: a few steps of them could not be taken here")


def _tell_drift(plan: Plan) -> None:
    """One line where stages that are there were made with other code or libraries than are installed."""
    if line := told(plan.drifts()):
        print(f"drift: {line}; --strict makes these again, --accept says that they are as good")


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


def _machine(recipe: Recipe, local: bool) -> Machine:
    """What this machine gives each training, as the runner will."""
    import torch

    from orchestrator.cluster.allocation import allocate
    from orchestrator.pipeline.estimate import Machine

    resources, cpus, gpus = recipe.resources, os.cpu_count() or 1, torch.cuda.device_count()
    if resources.device == "cuda" and gpus < resources.workers:
        resources = resources.model_copy(
            update={"device": "cpu"}
        )  # the plan of a GPU recipe is also of use on a laptop
    alone = allocate(resources.model_copy(update={"slots": 1}), cpus, gpus)
    each = alone if local else allocate(resources, cpus, gpus)
    return Machine(each.device, each.slots, each.workers, each.threads, alone.threads, ray=not local)


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def _short(number: float) -> str:
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}" if number else ""
