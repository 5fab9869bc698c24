"""What happens to prompts that are for no expert."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.routing import BEST, COMMON
from orchestrator.errors import ArtifactError
from orchestrator.routers import Policy, TextRouter
from orchestrator.routers._calibration import KNOTS, SIGNALS, Calibration
from orchestrator.routers._ngrams import ngram_buckets
from orchestrator.routers._router import save_routers
from orchestrator.routers._text_router import TokenBytes
from serve.errors import RejectedPromptError
from serve.router import NONE, PromptRouter

BITS = 12
WORDS = {"en": "the house near a river", "fr": "la maison près du fleuve"}


def write_prompt_router(folder: Path, policy: Policy) -> Path:
    """A router that knows two sentences: their n-grams speak for their language, and any n-gram of them is familiar."""
    weights = np.zeros((1 << BITS, 4), np.float32)
    for column, text in enumerate(WORDS.values()):
        for buckets in ngram_buckets([text], BITS)[0]:
            weights[buckets, column] = 1
            weights[buckets, 3] = 1
    rejection = np.zeros((len(KNOTS), SIGNALS + 1), np.float32)
    rejection[:, 3], rejection[:, 4] = -20, 10  # unfamiliar texts are rejected
    calibration = Calibration(np.ones(len(KNOTS), np.float32), rejection)
    router = TextRouter(tuple(WORDS), weights, np.zeros(4, np.float32), calibration, TokenBytes.of([]))
    folder.mkdir()
    save_routers(folder, "prompt", {"prompt": router}, "prompt", policy)
    return folder


def open_router(tmp_path: Path, tokenizer: Path, policy: Policy, *more: str) -> PromptRouter:
    return PromptRouter(tokenizer, write_prompt_router(tmp_path / "router", policy), (*WORDS, *more))


def test_known_prompts_go_to_their_experts(tmp_path: Path, tokenizer_folder: Path) -> None:
    routes = open_router(tmp_path, tokenizer_folder, Policy("error")).route(list(WORDS.values()))
    assert [route.expert for route in routes] == ["en", "fr"]
    for route in routes:
        assert route.probabilities is not None
        assert set(route.probabilities) == {"en", "fr", NONE}
        assert sum(route.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize(("reject", "expert"), [("fr", "fr"), ("common", "common"), ("en", "en")])
def test_rejects_go_where_the_recipe_says(tmp_path: Path, tokenizer_folder: Path, reject: str, expert: str) -> None:
    router = open_router(tmp_path, tokenizer_folder, Policy(reject), "common")
    route = router.route(["ξένη γλώσσα"])[0]
    assert route.expert == expert
    assert route.probabilities is not None
    assert route.probabilities[NONE] > 0.9


def test_the_best_expert_takes_rejects_by_default(tmp_path: Path, tokenizer_folder: Path) -> None:
    assert open_router(tmp_path, tokenizer_folder, Policy()).route([""])[0].expert in WORDS


def test_rejects_can_be_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    router = open_router(tmp_path, tokenizer_folder, Policy("error"))
    with pytest.raises(RejectedPromptError, match="prompt 2 of 2 is in no language that an expert knows") as caught:
        router.route(["the house near a river", "ξένη γλώσσα"])
    assert "en, fr" in caught.value.fix
    with pytest.raises(RejectedPromptError, match="the prompt is in no language"):
        router.route([""])


def test_a_threshold_of_one_rejects_nothing(tmp_path: Path, tokenizer_folder: Path) -> None:
    assert open_router(tmp_path, tokenizer_folder, Policy("error", 1.0)).route([""])[0].expert in WORDS


def test_the_most_probable_of_some_experts_takes_what_another_would(tmp_path: Path, tokenizer_folder: Path) -> None:
    router = PromptRouter(tokenizer_folder, write_prompt_router(tmp_path / "router", Policy("en")), ["fr"])
    assert router.route(["ξένη γλώσσα"])[0].expert == "fr"


def test_rejects_for_a_missing_common_expert_are_an_error_at_the_start(tmp_path: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(ArtifactError, match="to the common expert, and this mixture has none"):
        open_router(tmp_path, tokenizer_folder, Policy("common"))


@given(st.lists(st.text(st.characters()), max_size=5), st.sampled_from([BEST, COMMON, "fr"]))
@settings(deadline=None, max_examples=60)
def test_any_text_has_an_expert(routers: Mapping[str, PromptRouter], texts: list[str], reject: str) -> None:
    for route in routers[reject].route(texts):
        assert route.expert in (*WORDS, COMMON)
        assert route.probabilities is not None
        assert sum(route.probabilities.values()) == pytest.approx(1)


@pytest.fixture(scope="module")
def routers(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> dict[str, PromptRouter]:
    root = tmp_path_factory.mktemp("routers")
    return {
        reject: PromptRouter(tokenizer_folder, write_prompt_router(root / reject, Policy(reject)), (*WORDS, COMMON))
        for reject in (BEST, COMMON, "fr")
    }
