"""The JSON schema for editors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

jsonschema = pytest.importorskip("jsonschema")

RECIPES = sorted((Path(__file__).resolve().parents[3] / "jobs" / "recipes").glob("*.yaml"))


@pytest.fixture
def schema(mome) -> dict[str, Any]:
    ended = mome("schema")
    assert ended.code == 0
    return json.loads(ended.out)


def test_it_is_a_schema_that_accepts_the_shipped_recipes(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    recipes = [content for file in RECIPES if "teacher" in (content := yaml.safe_load(file.read_text()))]
    assert len(recipes) >= 3
    for recipe in recipes:
        assert [error.message for error in validator.iter_errors(recipe)] == []


def test_it_refuses_a_misspelt_field(schema: dict[str, Any]) -> None:
    recipe = {**yaml.safe_load(RECIPES[0].read_text()), "sead": 3}
    assert not jsonschema.Draft202012Validator(schema).is_valid(recipe)


@pytest.mark.parametrize(
    ("soft", "valid"),
    [
        ("jsd", True),
        ({"type": "jsd", "beta": 0.3}, True),
        ({"temperature": 2.0}, True),
        ("mypackage.losses:Mine", True),
        ({"type": "mypackage.losses:Mine", "whatever": 3}, True),
        ("jds", False),
        ("mypackage.losses", False),
        ({"type": "jsd", "btea": 0.3}, False),
        ({"type": "jsd", "beta": 3}, False),
        ({"type": "reverse_kl", "beta": 0.3}, False),
    ],
)
def test_it_knows_the_options_of_plugins(schema: dict[str, Any], soft: Any, valid: bool) -> None:
    recipe = yaml.safe_load((RECIPES[0].parent / "smoke.yaml").read_text())
    recipe["experts"]["distillation"]["soft"] = soft
    assert jsonschema.Draft202012Validator(schema).is_valid(recipe) == valid


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for section, about in {"Recipe": schema, **schema["$defs"]}.items():
        for name, field in about.get("properties", {}).items():
            yield f"{section}.{name}", field


def test_every_field_is_documented(schema: dict[str, Any]) -> None:
    found = dict(fields(schema))
    assert len(found) > 50
    assert [name for name, field in found.items() if not field.get("description")] == []
