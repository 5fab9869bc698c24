"""What holds for every study: its steps are a graph that can be run, and its report shows a recipe that can be read.

Studies build on what anybody could import: no helper of another room.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

import pytest

import orchestrator.study
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import Recipe
from orchestrator.pipeline.graph import Step, code_of, fingerprints, steps_of
from orchestrator.plugins import available, create
from orchestrator.study import Study

SMOKE = Path(__file__).resolve().parents[2] / "jobs" / "recipes" / "smoke.yaml"
ROOM, OPTIONS = "study", {}
NAMES = available(ROOM)
SHARED = ("corpus", "tokenizer", "tokens", "blocks", "teacher", "cache-en", "router")


def steps(*overrides: str) -> tuple[Step, ...]:
    return steps_of(load_recipe(SMOKE, overrides))


@pytest.fixture
def found(name: str) -> tuple[Step, ...]:
    """The steps of a study; those of ours with all options left out."""
    return steps(f"study={json.dumps({'type': name, **OPTIONS.get(name, {})})}")


def test_every_step_comes_after_its_inputs_and_the_last_is_the_report(found):
    seen: set[str] = set()
    for step in found:
        assert set(step.inputs.values()) <= seen, step.name
        assert step.name not in seen
        seen.add(step.name)
    assert found[-1].name == "report"


def test_nothing_is_made_twice(found):
    prints = fingerprints(found)
    counts = Counter((step.place, prints[step.name]) for step in found)
    assert [place for place, count in counts.items() if count > 1] == []


def test_data_teacher_and_router_are_those_of_the_recipe_without_a_study(found):
    alone, beside = fingerprints(steps()), fingerprints(found)
    assert {name: beside[name] for name in SHARED} == {name: alone[name] for name in SHARED}


def test_what_a_step_runs_on_is_told_and_no_page_is_among_it(found):
    stages = {module for step in found for module in code_of(step.stage) if "report" not in step.name}
    assert stages
    assert not [module for module in stages if ".pages" in module or module.endswith(".report")]


def test_the_recipe_that_a_report_shows_can_be_read_again(found):
    shown = found[-1].stage.recipe
    again = steps_of(Recipe.model_validate(shown))
    assert fingerprints(again) == fingerprints(found)


def test_a_study_says_what_it_asks(name):
    study = create(ROOM, name, OPTIONS.get(name, {}))
    assert isinstance(study, Study)
    assert type(study).__doc__


@pytest.mark.parametrize("name", NAMES)
def test_a_study_of_ours_says_what_its_options_are(name):
    assert "Attributes:" in (type(create(ROOM, name, {})).__doc__ or "")


FOLDER = Path(orchestrator.study.__file__).parent


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.py")), ids=lambda file: file.relative_to(FOLDER).as_posix())
def test_a_study_imports_no_helper_of_another_room(file):
    found = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    named = [f"{node.module}.{alias.name}" for node in found for alias in node.names]
    foreign = [
        name for name in named if name.startswith("orchestrator.") and not name.startswith("orchestrator.study.")
    ]
    assert not [name for name in foreign if "._" in name]
