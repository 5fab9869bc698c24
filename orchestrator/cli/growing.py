"""What `mome expert` and `mome mixture` do: plan a change around the current version, run it, make it a version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.api.plans import cluster_of, planned_run
from orchestrator.api.running import Audience, execute_plan, place_report
from orchestrator.api.runs import open_run
from orchestrator.artifacts import Artifact, Store
from orchestrator.cli.plan import show_plan
from orchestrator.cli.progress import progress_display
from orchestrator.cli.show import artifact_table
from orchestrator.config.yaml_text import parse
from orchestrator.errors import ArtifactError, RecipeError
from orchestrator.locks import locked
from orchestrator.mixtures.version import Version
from orchestrator.mixtures.versions import Versions, recipe_of, record_run, unfinished

if TYPE_CHECKING:
    from orchestrator.mixtures.growth import Growth
    from orchestrator.records import Evaluation


def text_of(source: str, kind: str) -> dict[str, Any]:
    """The recipe's entry for a language from ``TYPE``, ``TYPE:PATH`` or ``{type: …}``.

    Raises:
        RecipeError: neither of these.
    """
    name, colon, path = source.partition(":")
    spec: Any = {"type": name, **({"path": path} if colon else {})}
    if source.lstrip().startswith("{"):
        try:
            spec = parse(source)
        except (yaml.YAMLError, ValueError, RecursionError):
            example = "for example '{type: files, path: data/es}'"
            raise RecipeError(f"the source is not YAML: {source!r}", "--source", example) from None
    return {"source": spec, "kind": kind}


def change_mixture(
    name: str,
    kind: Literal["add", "remove", "replace"],
    language: str,
    text: Mapping[str, Any] | None,
    teacher: str | None,
    overrides: Sequence[str],
    *,
    plan: bool,
    local: bool,
    runs: Path,
) -> None:
    """Change the current version of a run's mixture, and make the result the current one.

    Raises:
        MomeError: what a person can mend; the current version stays as it is, and the same command goes on.
    """
    from orchestrator.mixtures.change import Change
    from orchestrator.mixtures.growth import plan_growth

    store = open_run(name, runs)
    with locked(store.root):
        store.clean()
        change = Change(kind, language, text, teacher, tuple(overrides))
        growth = plan_growth(change, _current(store), store, adopt=True)
        if plan:
            on = cluster_of(growth.recipe.resources, local, None)
            show_plan(planned_run(growth.recipe, growth.plan, local, on))
        elif growth.plan.missing:
            settle = partial(_settle, growth)
            execute_plan(growth.recipe, growth.plan, local, settle, Audience(progress_display(), print))
        else:
            _settle(growth, {p.name: p.artifact for p in growth.plan.steps if p.artifact is not None})


def list_versions(name: str, runs: Path) -> None:
    """Print the versions of a run's mixture, and what is damaged of them.

    Raises:
        ArtifactError: there is no such run, or it has no versions.
    """
    versions = _versions(open_run(name, runs))
    current, damage = None, []
    try:
        current = versions.current_number()
    except ArtifactError as error:
        damage.append(error)
    table = Table(title=versions.root.name, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("version", "made by", "from", "languages", "created (UTC)", ""):
        table.add_column(heading)
    for number in versions.numbers():
        try:
            cells = _cells(versions.get(number))
        except ArtifactError as error:
            damage.append(error)
            cells = ("can't be read", "", "", "")
        table.add_row(str(number), *cells, "current" if number == current else "")
    console = Console(highlight=False)
    console.print(table)
    for found in damage:
        console.print(str(found), markup=False, soft_wrap=True)


def _cells(version: Version) -> tuple[str, ...]:
    parent = "" if version.parent is None else str(version.parent)
    return version.action, parent, ", ".join(version.languages), version.created[:16].replace("T", " ")


def show_version(name: str, number: int | None, runs: Path) -> None:
    """Print the parts of a version; None: of the current one.

    Raises:
        ArtifactError: there is no such run or version, or it is not whole.
    """
    versions = _versions(open_run(name, runs))
    version = versions.current() if number is None else versions.get(number)
    assert version is not None
    title = f"{versions.root.name}, version {version.number}: {_described(version)}"
    console = Console()
    console.print(artifact_table(title, {part: version.part(part) for part in version.parts}))
    console.print(f"files: {version.folder}", markup=False)


def use_version(name: str, number: int, runs: Path) -> None:
    """Make a version the current one.

    Raises:
        ArtifactError: there is no such run or version, or a part of it is lost; the current version stays.
    """
    versions = _versions(open_run(name, runs))
    with locked(versions.root):
        version = versions.use(number)
        place_report(versions.root, version.part("report") if "report" in version.parts else None)
    print(f"version {version.number} is current: {_described(version)}")


def _current(store: Store) -> Version:
    """The current version; the run's own is made one where there is none yet.

    Raises:
        ArtifactError: the run is not finished.
    """
    if version := Versions(store.root).current() or record_run(store):
        return version
    lacks = ", ".join(unfinished(store.current(), recipe_of(store)))
    raise ArtifactError(f"the run is not finished: it has no {lacks}", str(store.root), "finish it: mome run RECIPE")


def _versions(store: Store) -> Versions:
    versions = Versions(store.root)
    if versions.numbers():
        return versions
    fix = "finish it (mome run RECIPE): its mixture is the first version"
    raise ArtifactError("the run's mixture has no versions yet", str(store.root), fix)


def _settle(growth: Growth, artifacts: Mapping[str, Artifact]) -> Path | None:
    """Switch to the new version, and say what it is and how good."""
    version = growth.publish(artifacts)
    report = place_report(growth.plan.store.root, artifacts.get("report"))
    console = Console(highlight=False)
    console.print(f"version {version.number} is current: {_described(version)}")
    console.print(_quality(artifacts["evaluation"].folder / "evaluation.json"))
    console.print(f"back to what it was: mome mixture use {version.run} {growth.version.number}")
    return report


def _described(version: Version) -> str:
    parent = "" if version.parent is None else f", from version {version.parent}"
    return f"{', '.join(version.languages)} ({version.action}{parent})"


def _quality(evaluation: Path) -> Table:
    """Perplexity of each language by its own expert and through the router."""
    found: Evaluation = json.loads(evaluation.read_text(encoding="utf-8"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("language")
    for heading in ("perplexity", "through the router", "routed right"):
        table.add_column(heading, justify="right")
    for language, routed in found["routed"].items():
        own = found["true_language"][language]["perplexity"]
        table.add_row(language, f"{own:,.1f}", f"{routed['perplexity']:,.1f}", f"{routed['accuracy']:.1%}")
    return table
