"""Every stage declares all the code that its result depends on: a change of it must make the stage run again."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from orchestrator import plugins
from orchestrator.config.loading import changed
from orchestrator.config.recipe import Recipe
from orchestrator.pipeline.graph import _plugins_in, code_of, steps_of
from orchestrator.stages.added_blocks import AddedBlocksStage
from orchestrator.stages.base import Stage
from orchestrator.stages.grown_blocks import GrownBlocksStage
from orchestrator.stages.grown_corpus import GrownCorpusStage
from orchestrator.stages.remaining_experts import RemainingExpertsStage

ROOMS = (
    "corpus.sources",
    "losses",
    "losses.hidden",
    "models.zoo",
    "routers",
    "schedules",
    "teacher",
    "training.optimizers",
)
CONTRACTS = ("config", "errors", "plugins", "artifacts", "stages.base")
"""They say what a recipe, a plug-in and an artifact are; the values that stages take from them are fingerprinted."""

MERGED = {"initialise": "average", "tokens": 0}
RECIPE = Recipe.model_validate(
    {
        "name": "any",
        "corpus": {"languages": {code: {"source": "miniwiki"} for code in ("en", "fr")}},
        "teacher": {"model": "gpt2-tiny-teacher", "training": {"tokens": 2**20}},
        "experts": {
            "model": "gpt2-tiny-expert",
            "training": {"tokens": 2**20},
            "distillation": {"teacher": "hidden_cache", "hidden": "cosine"},
        },
    }
)
STUDY = changed(RECIPE, {"study": {"seeds": [1], "baselines": {"dense": {}, "merged": MERGED}}}, "study")
STAGES = {type(step.stage).__name__: step.stage for recipe in (RECIPE, STUDY) for step in steps_of(recipe)}
GROWING = (
    GrownCorpusStage(languages=("en",)),
    GrownBlocksStage(languages=("en",)),
    AddedBlocksStage(blocks=RECIPE.blocks, languages=("en",), seed=1, most={}),
    RemainingExpertsStage(languages=("en",)),
)
STAGES |= {type(stage).__name__: stage for stage in GROWING}


@cache
def source(module: str) -> ast.Module | None:
    """Syntax tree of a module; None where there is no such module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its parent is a module, no package
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8")) if spec and spec.origin else None


def imports(module: str) -> Iterator[tuple[str, str]]:
    """(module, name) of what a module imports from the orchestrator, inside functions too."""
    tree = source(module)
    assert tree is not None, module
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "orchestrator":
            yield from ((str(node.module), alias.name) for alias in node.names)


def defined_in(module: str, name: str) -> str:
    """Where a name that is imported from `module` comes from: packages only pass on what their modules define."""
    if source(f"{module}.{name}") is not None:
        return f"{module}.{name}"
    if hasattr(importlib.import_module(module), "__path__"):
        for origin, passed_on in imports(module):
            if passed_on == name:
                return defined_in(origin, name)
    return module


def counts(module: str) -> bool:
    """Whether a module belongs into `code`: no contract, and no plug-in, which a recipe names."""
    name = module.removeprefix("orchestrator.")
    room, _, file = name.rpartition(".")
    plugin = room in ROOMS and file in plugins.available(room)
    return not plugin and not any(f"{name}.".startswith(f"{each}.") for each in CONTRACTS)


def below(module: str) -> Iterator[str]:
    """A module and, for a package, everything in it."""
    yield module
    for found in pkgutil.walk_packages(getattr(importlib.import_module(module), "__path__", ()), f"{module}."):
        yield found.name


def needed(stage: Stage) -> dict[str, str]:
    """Every module that the stage's code, or any plug-in it could be given, imports -> the first one that does."""
    open_ = [each for module in code_of(stage) for each in below(module)]
    for room in {spec.room for spec in _plugins_in(stage)} & set(ROOMS):
        open_ += [f"orchestrator.{room}.{name}" for name in plugins.available(room)]
    found: dict[str, str] = {}
    while open_:
        module = open_.pop()
        for imported in (defined_in(*each) for each in imports(module)):
            if counts(imported) and imported not in found:
                found[imported] = module
                open_.append(imported)
    return found


@pytest.mark.parametrize("name", STAGES)
def test_code_names_all_that_it_imports(name: str) -> None:
    declared = {each for module in code_of(STAGES[name]) for each in below(module)}
    missing = {module: importer for module, importer in needed(STAGES[name]).items() if module not in declared}
    assert not missing, "module -> imported by"


def test_no_stage_is_left_out() -> None:
    files = {name for name in below("orchestrator.stages") if not name.rpartition(".")[2].startswith("_")}
    assert {type(stage).__module__ for stage in STAGES.values()} == files - {"orchestrator.stages", Stage.__module__}


def test_finds_imports_inside_functions_and_through_packages() -> None:
    found = needed(STAGES["TeacherStage"])
    assert {"orchestrator.training.loop", "orchestrator.losses._chunk", "orchestrator.models.files"} <= set(found)
