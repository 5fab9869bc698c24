from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from orchestrator.routers import Material, TextRouter, fit_routers
from orchestrator.routers.paper import Paper
from orchestrator.routers.prompt import Prompt
from orchestrator.routers.text.pieces import LanguageTexts

CLASSIFIERS = ["logistic_regression", "sgd", "random_forest"]
TEXTS = {"en": ["the house near a river"] * 9, "fr": ["la maison près du fleuve"] * 9}


def sequences() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(10 + 50 * i, 60 + 50 * i, (12, 16)) for i, name in enumerate(TEXTS)}


def test_a_router_of_tokens_is_not_given_documents() -> None:
    def refused(*_: object) -> Mapping[str, LanguageTexts]:
        pytest.fail("documents were read")

    routers = fit_routers(Paper(classifier="sgd"), Material(sequences(), refused, refused), seed=1, threads=1)
    assert list(routers) == CLASSIFIERS


def test_a_router_of_text_comes_after_the_paper_s_and_asks_for_its_characters() -> None:
    asked: list[int] = []

    def texts(characters: int) -> dict[str, LanguageTexts]:
        asked.append(characters)
        return {name: LanguageTexts(some, some) for name, some in TEXTS.items()}

    plugin = Prompt(bits=10, pieces=100, calibration_pieces=50, characters=5000)
    routers = fit_routers(plugin, Material(sequences(), texts, lambda: [b"a"]), seed=1, threads=1)
    assert list(routers) == [*CLASSIFIERS, "prompt"]
    assert isinstance(routers["prompt"], TextRouter)
    assert asked == [5000]
