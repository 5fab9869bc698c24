"""Plan, lock, run what is missing, and point the run's folder at what was made."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.extras import needs_cluster
from orchestrator.artifacts import MANIFEST, Artifact, Store, write_json
from orchestrator.config.recipe import Recipe
from orchestrator.disk import place_folder
from orchestrator.locks import locked
from orchestrator.mixtures.versions import Versions, record_run
from orchestrator.pipeline.estimate import ranks_of
from orchestrator.pipeline.noting import SpeedNotes
from orchestrator.pipeline.pace import Paces
from orchestrator.pipeline.plan import Plan, make_plan, run_folder
from orchestrator.place import runs_folder
from orchestrator.provenance import told
from orchestrator.stages.base import Cost
from orchestrator.tokens.storage import SPLITS
from orchestrator.tracking import Observer, RunFacts, is_unfinished, mlflow_tracker
from orchestrator.tracking.lines import LogLines, Silent

if TYPE_CHECKING:
    from orchestrator.pipeline.runner import Runner

Say = Callable[[str], None]
"""Takes a line for the person who watches."""
Settle = Callable[[Mapping[str, Artifact]], Path | None]
"""Is given the artifact of every step when all are there, and returns the folder of the report, if any."""


@dataclass(frozen=True)
class Wanted:
    """Which steps a plan is to have.

    Attributes:
        until: stop after these; none: to the report.
        force: run these again.
        strict: and those whose code has changed.
    """

    until: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    strict: bool = False

    @classmethod
    def of(cls, until: Sequence[str] | str, force: Sequence[str] | str, strict: bool) -> Wanted:
        """As a caller names them: one, or several."""
        return cls(_names(until), _names(force), strict)

    def plan(self, recipe: Recipe, store: Store, *, adopt: bool = False) -> Plan:
        """See :func:`orchestrator.pipeline.plan.make_plan`."""
        return make_plan(recipe, store, self.until, self.force, strict=self.strict, adopt=adopt)


@dataclass(frozen=True)
class Audience:
    """Who watches a run.

    Attributes:
        display: is told of events.
        say: takes a line.
    """

    display: Observer
    say: Say

    @classmethod
    def of(cls, display: Observer | None, quiet: bool) -> Audience:
        """The display that was given, or plain lines; lines are printed, unless nothing is to be."""
        shown = display or (Silent() if quiet else LogLines())
        return cls(shown, _silence if quiet else partial(print, flush=True))


def run_recipe(recipe: Recipe, runs: Path, wanted: Wanted, audience: Audience, *, accept: bool, local: bool) -> Path:
    """Run a recipe, see :func:`orchestrator.api.run`, and return the run's folder.

    Raises:
        MomeError: what a person can mend; nothing half-written stays, and finished stages are kept.
    """
    say = audience.say
    store = Store(run_folder(runs_folder(runs), recipe))
    with locked(store.root, say):
        store.clean()
        plan = wanted.plan(recipe, store, adopt=True)
        tell_drift(plan, accept, say)
        settle = partial(_settle, recipe, store, say)
        if plan.missing:
            execute_plan(recipe, plan, local, settle, audience)
        else:
            report = settle({p.name: p.artifact for p in plan.steps if p.artifact is not None})
            # The command before was killed at its end, or the tracker was away then.
            if is_unfinished(store.root) and (tracker := _tracker(recipe, plan, say)):
                tracker.close(report)
            count = sum(planned.wanted for planned in plan.steps)
            say(f"nothing to do: all {count} stages of {recipe.name} are done")
    return store.root


def execute_plan(recipe: Recipe, plan: Plan, local: bool, settle: Settle, audience: Audience) -> dict[str, Artifact]:
    """Run what a plan lacks, on Ray or in this process, under the eyes of the audience and the tracker.

    Args:
        recipe: says where things run and are tracked.
        plan: of steps.
        local: without Ray.
        settle: is given the artifacts.
        audience: is told of events.

    Raises:
        MomeError: see :func:`orchestrator.pipeline.execute.execute`.
    """
    from orchestrator.pipeline.execute import execute

    since = time.perf_counter()
    costs = _costs(plan)  # a configuration that can't work is found before anything starts
    with ExitStack() as stack:
        paces = stack.enter_context(Paces())
        report: list[Path] = []  # filled when the run has come to one
        observers = stack.enter_context(_observers(recipe, plan, audience, report))
        runner = stack.enter_context(opened_runner(recipe, local, audience.say, ranks_of(plan, costs)))
        observers.append(SpeedNotes(plan, costs, recipe.resources, local, since, paces))
        artifacts = execute(plan, runner, observers, audience.say)
        if found := settle(artifacts):
            report.append(found)
    return artifacts


def _costs(plan: Plan) -> dict[str, Cost]:
    """Costs of the missing steps, of one block where it is not known how many there are: enough for a speed."""
    known = plan.expected.blocks or dict.fromkeys(SPLITS, 1)
    plan = replace(plan, expected=replace(plan.expected, blocks=known))
    return {planned.name: plan.cost(planned) for planned in plan.missing}


def tell_drift(plan: Plan, accept: bool, say: Say) -> None:
    """Say what differs from what cached steps were made with, or record that these are as good. The lock is held."""
    if accept:
        say(f"accepted: {', '.join(plan.accept()) or 'nothing, as nothing differs'}")
    if line := drift_line(plan):
        say(line)


def drift_line(plan: Plan) -> str:
    """One line where stages that are there were made with other code or libraries than are installed; else ""."""
    line = told(plan.drifts())
    return f"drift: {line}; --strict makes these again, --accept says that they are as good" if line else ""


def place_report(root: Path, report: Artifact | None) -> Path | None:
    """Copy the artifact of a report to where people look for it, and say where that is; None where there is none."""
    if report is None:
        return None
    place = root / "report"
    if not _same(place / MANIFEST, report.folder / MANIFEST):
        place_folder(place, partial(shutil.copytree, report.folder, dirs_exist_ok=True))
    return place


@contextmanager
def opened_runner(recipe: Recipe, local: bool, say: Say, ranks: Mapping[str, float] = {}) -> Iterator[Runner]:
    """What runs the steps, until the block ends: this process, or Ray.

    Args:
        recipe: says what they are given.
        local: this process.
        say: takes a line.
        ranks: by step, which of those that wait for a slot goes first: the highest.

    Raises:
        ResourceError: Ray is not installed, does not start, or can't be reached.
    """
    if local:
        from orchestrator.pipeline.local import LocalRunner

        with closing(LocalRunner(recipe.resources)) as here:
            yield here
        return
    with needs_cluster(", or add --local"):
        from orchestrator.cluster.runner import RayRunner
        from orchestrator.cluster.session import session
    with session(recipe.resources), closing(RayRunner(recipe.resources, None, say, ranks, recipe.name)) as runner:
        yield runner


@contextmanager
def _observers(recipe: Recipe, plan: Plan, audience: Audience, report: list[Path]) -> Iterator[list[Observer]]:
    observers: list[Observer] = [audience.display]
    try:
        if tracker := _tracker(recipe, plan, audience.say):
            observers.append(tracker)
        yield observers
    finally:
        for observer in observers:
            observer.close(report[0] if report else None)


def _tracker(recipe: Recipe, plan: Plan, say: Say) -> Observer | None:
    if recipe.tracking.type == "none":
        return None
    facts = RunFacts(
        name=recipe.name,
        folder=plan.store.root,
        experiment=recipe.tracking.experiment,
        parameters=recipe.model_dump(mode="json", exclude={"resources", "tracking"}),
        fingerprints={planned.name: planned.fingerprint for planned in plan.steps},
        made={p.name: p.artifact.folder for p in plan.steps if p.artifact},
        configs={planned.name: planned.step.stage.model_dump(mode="json") for planned in plan.steps},
    )
    return mlflow_tracker(facts, say=say)


def _settle(recipe: Recipe, store: Store, say: Say, artifacts: Mapping[str, Artifact]) -> Path | None:
    """Point the run's folder at these artifacts: `artifacts.json`, `recipe.json`, a version of the mixture, and the
    report where people look.
    """
    store.set_current(recipe.name, artifacts)
    write_json(store.root / "recipe.json", recipe.model_dump(mode="json"))
    versions = Versions(store.root)
    was, before = versions.current_number(), versions.readable()
    made, current = record_run(store), versions.readable()
    if made and current and made.number != current.number:  # the mixture has been changed since
        back = f"mome mixture use {store.root.name} {made.number}"
        say(f"version {current.number} ({current.action}) stays the current one; {back} goes back to this run's")
        return None
    if before and current and before.number != current.number:
        kept = f"version {before.number} ({before.action}) is kept: mome mixture list {store.root.name}"
        say(f"version {current.number} of the mixture is the current one; {kept}")
    if was and not before and current:
        say(f"version {was} can't be read: version {current.number} is the current one now")
    return place_report(store.root, artifacts.get("report"))


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _silence(line: str) -> None:
    """Say nothing."""


def _names(names: Sequence[str] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
