"""How much text there will be, told before it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.config.loading import load_recipe
from orchestrator.tokens.expected import counted_blocks, expected_blocks

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"
TINY = ("corpus.languages={en: {source: miniwiki}, fr: {source: miniwiki}}", "blocks.context=16")


def test_blocks_of_the_smallest_language_by_split() -> None:
    recipe = load_recipe(RECIPES / "smoke.yaml")
    # As the run itself has them: 459 to 470 blocks to train on, and about 100 in each of the other splits.
    blocks = expected_blocks(recipe)
    assert blocks["train"] == pytest.approx(460, rel=0.15)
    assert blocks["validation"] == blocks["test"] == pytest.approx(100, rel=0.25)


def test_no_more_to_train_on_than_asked_for() -> None:
    recipe = load_recipe(RECIPES / "smoke.yaml", (*TINY, "blocks.balance.tokens_per_language=1000"))
    assert expected_blocks(recipe)["train"] == 999 // 16


@pytest.mark.parametrize("source", ["wiki40b", "{type: files, path: no/such/file.txt}"])
def test_unknown_where_text_is_not_at_hand(source: str) -> None:
    recipe = load_recipe(RECIPES / "smoke.yaml", [f"corpus.languages.en.source={source}"])
    assert expected_blocks(recipe) == {}


def test_languages_with_splits_of_their_own(tmp_path: Path) -> None:
    for split, characters in (("train", 5000), ("validation", 900), ("test", 1000)):
        (tmp_path / f"{split}.txt").write_text("x" * characters)
    source = {split: f"{{type: files, path: {tmp_path / split}.txt}}" for split in ("train", "validation", "test")}
    language = f"{{source: {source['train']}, validation: {source['validation']}, test: {source['test']}}}"
    recipe = load_recipe(RECIPES / "smoke.yaml", [f"corpus.languages={{en: {language}}}", "blocks.context=8"])
    blocks = expected_blocks(recipe)
    assert blocks["train"] / blocks["validation"] == pytest.approx(5000 / 900, rel=0.05)


def test_blocks_that_are_there_are_counted(tmp_path: Path) -> None:
    splits = {split: {"en": {"tokens": 33}, "fr": {"tokens": 17}} for split in ("train", "validation", "test")}
    about = {"context": 8, "dtype": "uint16", "vocab_size": 300, "languages": ["en", "fr"], "splits": splits}
    (tmp_path / "blocks.json").write_text(json.dumps(about))
    for split, languages in splits.items():
        (tmp_path / split).mkdir()
        for language, counts in languages.items():
            (tmp_path / split / f"{language}.bin").write_bytes(bytes(2 * counts["tokens"]))
    assert counted_blocks(tmp_path) == {"train": 2, "validation": 2, "test": 2}
