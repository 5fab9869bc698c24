"""A key that was renamed is refused, and the refusal says what it is called now."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import renames
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import Recipe
from orchestrator.errors import RecipeError

SMOKE = Path(__file__).resolve().parents[3] / "jobs" / "recipes" / "smoke.yaml"


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_mixture_is_called_setup(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"base: {SMOKE}\nmixture: jeet\n")
    assert 'recipe.yaml:2: mixture: unknown key; it is called "setup" now' in refusal(recipe)
    assert 'it is called "setup" now' in refusal(SMOKE, "mixture.combiner=gate")
    assert load_recipe(SMOKE, ["setup=jeet"]).setup.type == "jeet"


def test_new_names_are_fields_and_old_ones_are_not() -> None:
    for old, new in renames.RENAMED["Recipe"].items():
        assert new.split(".")[0] in Recipe.model_fields
        assert old not in Recipe.model_fields


def test_a_key_below_a_language_keeps_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "RENAMED", {"Recipe": {"corpus.languages.*.sort": "corpus.languages.*.kind"}})
    assert renames.new_name("Recipe", ("corpus", "languages", "de", "sort")) == "corpus.languages.de.kind"
    assert renames.new_name("Recipe", ("corpus", "languages", "de")) is None
    assert renames.new_name("SweepConfig", ("corpus", "languages", "de", "sort")) is None


def test_what_an_earlier_release_recorded_with_a_run_is_read() -> None:
    recorded = {"name": "mine", "mixture": {"type": "ple"}, "study": {"seeds": [1]}}
    assert renames.by_new_names(recorded) == {
        "name": "mine",
        "setup": {"type": "ple"},
        "study": {"type": "paper", "seeds": [1]},
    }
    now = {"name": "mine", "setup": {"type": "ple"}, "study": {"type": "low_rank"}}
    assert renames.by_new_names(now) == now
