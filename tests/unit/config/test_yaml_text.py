"""Plain words, numbers and dates of a recipe are text where text is asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import Recipe
from orchestrator.config.yaml_text import parse
from orchestrator.errors import RecipeError

RECIPE = """\
name: {name}
corpus:
  languages:
    {language}: {{source: {{type: miniwiki, language: {language}}}}}
    it: {{source: miniwiki}}
teacher: {{model: {{type: pretrained, name: somewhere}}, train: {train}}}
experts: {{model: gpt2-nano}}
"""


def loaded(
    folder: Path, *overrides: str, name: str = "n", language: str = "no", train: str = "true", more: str = ""
) -> Recipe:
    file = folder / "recipe.yaml"
    file.write_text(RECIPE.format(name=name, language=language, train=train) + more, encoding="utf-8")
    return load_recipe(file, overrides)


@pytest.mark.parametrize(
    "text",
    ["no", "off", "on", "yes", "No", "ON", "y", "n", "12:30", "2024-01-01", "2024-01-01 10:00:00", "007", "0o17", "1e5",
     "0b11", "=", "1.2.3", "e5", "+", "1_a"],
)  # fmt: skip
def test_text(text: str) -> None:
    assert parse(text) == text
    assert parse(f"{{{text}: 1}}") == {text: 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("~", None), ("null", None), ("", None), ("0", 0), ("-3", -3),
        ("2_000", 2000), ("0x1f", 31), ("1.5", 1.5), ("1.", 1.0), ("-.5", -0.5), ("1.0e-3", 0.001),
        (".inf", math.inf), ("-.inf", -math.inf),
    ],
)  # fmt: skip
def test_values(text: str, value: Any) -> None:
    assert parse(text) == value
    assert type(parse(text)) is type(value)


@pytest.mark.parametrize("key", ["null", "~", "true", "1", "1.5", "0x10", "-1"])
def test_keys_are_text(key: str) -> None:
    assert parse(f"{key}: x") == {key: "x"}


def test_merged_keys_are_text() -> None:
    assert parse("a: &a {no: 1, 2: x}\nb: {<<: *a, no: 3}\n")["b"] == {"no": 3, "2": "x"}


def test_what_pyyaml_writes_is_read_as_it_was() -> None:
    value = {"no": ["yes", "12:30", "1e5", "007", 1.5e-7, None, True, "null", "2024-01-01", "~", "=", "", 12, "12"]}
    assert parse(yaml.safe_dump(value)) == value


@pytest.mark.parametrize("language", ["no", "on", "off", "yes", "y", "null"])
def test_languages(tmp_path: Path, language: str) -> None:
    recipe = loaded(tmp_path, language=language)
    assert list(recipe.corpus.languages) == [language, "it"]
    source = recipe.corpus.languages[language].source
    if language != "null":
        assert source.options == {"language": language}


def test_languages_on_the_command_line(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "corpus.languages={no: {source: {type: miniwiki, language: no}}, sv: {source: miniwiki}}")
    assert list(recipe.corpus.languages) == ["no", "sv"]
    recipe = loaded(tmp_path, "corpus.languages.no.source.language=on", "router.reject=no")
    assert recipe.corpus.languages["no"].source.options == {"language": "on"}
    assert recipe.router.reject == "no"


@pytest.mark.parametrize("name", ["2024", "007", "1.10", "1_0", "no", "true", "1e5", "2024-01-01"])
def test_names(tmp_path: Path, name: str) -> None:
    assert loaded(tmp_path, name=name).name == name
    assert loaded(tmp_path, f"name={name}").name == name
    base = tmp_path / "above.yaml"
    base.write_text("base: recipe.yaml\n")
    loaded(tmp_path, name=name)
    assert load_recipe(base).name == name


@pytest.mark.parametrize(
    ("text", "value"), [("no", False), ("off", False), ("on", True), ("yes", True), ("true", True)]
)
def test_truth_values_where_they_are_asked_for(tmp_path: Path, text: str, value: bool) -> None:
    assert loaded(tmp_path, train=text).teacher.train is value
    assert loaded(tmp_path, f"teacher.train={text}").teacher.train is value


def test_numbers_where_they_are_asked_for(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "evaluation.confidence=9e-1", more="seed: 010\ntokenizer: {vocab_size: 1_000}\n")
    assert (recipe.seed, recipe.tokenizer.vocab_size, recipe.evaluation.confidence) == (10, 1000, 0.9)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("1: x\n", ["recipe.yaml:8", "unknown key"]),
        ("? [a, b]\n: x\n", ["not valid YAML"]),
        ("seed: " + "[" * 1500 + "]" * 1500, ["nested too deep"]),
        ("study: &a {study: *a}\n", ["nested too deep"]),
        ('description: "\\ud800"\n', ["half a surrogate"]),
        ("seed: " + "9" * 5000 + "\n", ["integer string"]),
        ("description: 1\nsead: 2\n", ["sead", "description"]),
        ("router: {reject: 5}\n", ["router.reject", "begin with a letter", "'5'"]),
        ("corpus: x\n", ["twice"]),
        ("study: {type: paper, setups: {A: {}}}\n", ["study.setups.A", "small letter"]),
    ],
)
def test_mistakes_are_told(tmp_path: Path, more: str, said: list[str]) -> None:
    with pytest.raises(RecipeError) as error:
        loaded(tmp_path, more=more)
    for part in said:
        assert part in str(error.value)


@pytest.mark.parametrize("value", ["[" * 1500, "[" * 1500 + "]" * 1500, '"\\ud800"', "\udcff", "&a [*a]"])
def test_values_of_overrides_are_told(tmp_path: Path, value: str) -> None:
    with pytest.raises(RecipeError):
        loaded(tmp_path, f"description={value}")
