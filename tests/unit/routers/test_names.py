"""A router does not depend on what its languages are called."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from orchestrator.config.recipe import Recipe
from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.pipeline.graph import main_line
from orchestrator.routers import TextRouter
from orchestrator.routers.prompt import Prompt
from orchestrator.routers.text.no_language import to_learn
from orchestrator.routers.text.pieces import LanguageTexts
from orchestrator.routers.text.shipped import conversations
from orchestrator.routers.text.tags import own_kinds
from orchestrator.stages.router import RouterStage

TRAINING = {"training": {"tokens": 2**20}}
MODELS = {"teacher": {"model": "gpt2-nano", **TRAINING}, "experts": {"model": "gpt2-nano", **TRAINING}}
PLUGIN = Prompt(bits=14, pieces=500, calibration_pieces=50)


def documents(language: str) -> LanguageTexts:
    texts = [document.text for document in Miniwiki().documents(language)][:40]
    return LanguageTexts(texts[:30], texts[30:])


@cache
def train(*names: str) -> TextRouter:
    """A router of English and German by their names."""
    texts = {name: documents(language) for name, language in zip(names, ("en", "de"), strict=True)}
    router = PLUGIN.train(texts, [b"a"], seed=3, threads=1)["prompt"]
    assert isinstance(router, TextRouter)
    return router


@pytest.fixture(scope="module")
def by_code() -> TextRouter:
    return train("en", "de")


@pytest.mark.parametrize(
    "names",
    [
        ("english", "german"),
        *(pytest.param(n, marks=pytest.mark.long) for n in (("eng", "deu"), ("en-gb", "de-ch"), ("us", "deutsch"))),
    ],
)
def test_other_names_make_the_same_router(by_code: TextRouter, names: tuple[str, str]) -> None:
    router = train(*names)
    assert router.languages == names
    (theirs, _), (ours, _) = by_code.parts(), router.parts()
    assert {name: array.tobytes() for name, array in ours.items()} == {n: a.tobytes() for n, a in theirs.items()}


def test_german_by_another_name_is_not_rejected(by_code: TextRouter) -> None:
    """Lines of held-out documents, and sentences that ship; a name of which nothing ships is the control."""
    german = train("english", "german")
    unknown = train("english", "xx")
    held_out = [line for text in documents("de").held_out for line in text.splitlines() if len(line) > 20]
    sentences = conversations({"de": ["phrases/de"]})["de"].held_out

    def rejected(router: TextRouter, texts: Sequence[str]) -> float:
        return float(np.mean(router.route(texts).rejected > 0.3))

    assert rejected(german, held_out) == rejected(by_code, held_out) <= 0.01
    assert rejected(german, sentences) == rejected(by_code, sentences) < rejected(unknown, sentences) / 3


def test_a_polish_expert_leaves_perl_to_no_language_and_one_for_perl_leaves_polish() -> None:
    kinds = own_kinds({"pl": False}), own_kinds({"pl": True})
    learned = [
        to_learn({kind for some in found.values() for kind in some}, 1, np.random.default_rng(0)) for found in kinds
    ]
    assert [{"phrases/pl", "code/pl"} & set(found) for found in learned] == [{"code/pl"}, {"phrases/pl"}]


def test_the_kind_in_a_recipe_says_which_names_are_of_code() -> None:
    languages = {"pl": {"source": "miniwiki"}, "cs": {"source": "miniwiki", "kind": "code"}}
    recipe = Recipe.model_validate({"name": "any", "corpus": {"languages": languages}, **MODELS})
    (router,) = (step.stage for step in main_line(recipe) if isinstance(step.stage, RouterStage))
    assert router.code_languages == ("cs",)
