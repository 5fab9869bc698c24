"""What happens to prompts that are text of no language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.routing import BEST, COMMON
from orchestrator.errors import ArtifactError
from orchestrator.routers import NONE, Policy
from serve.errors import RejectedPromptError
from serve.router import PromptRouter

KNOWN = {"en": "the house near a river", "fr": "la maison près du fleuve"}
FOREIGN = "ξένη γλώσσα"
Open = Callable[..., PromptRouter]


@pytest.fixture(scope="module")
def opened(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path, prompt_router: Callable[[Path, Policy], Path]
) -> Open:
    """A router with a policy and experts."""

    def opened(policy: Policy, experts: Sequence[str] = tuple(KNOWN)) -> PromptRouter:
        return PromptRouter(tokenizer_folder, prompt_router(tmp_path_factory.mktemp("router"), policy), experts)

    return opened


@pytest.fixture(scope="module")
def routers(opened: Open) -> dict[str, PromptRouter]:
    return {reject: opened(Policy(reject), (*KNOWN, COMMON)) for reject in (BEST, COMMON, "fr")}


def test_known_prompts_go_to_their_experts(opened: Open) -> None:
    routes = opened(Policy("error")).route(list(KNOWN.values()))
    assert [route.expert for route in routes] == ["en", "fr"]
    for route in routes:
        assert route.probabilities is not None
        assert set(route.probabilities) == {"en", "fr", NONE}
        assert sum(route.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize(("reject", "expert"), [("fr", "fr"), ("common", "common"), ("en", "en")])
def test_rejects_go_where_the_recipe_says(opened: Open, reject: str, expert: str) -> None:
    router = opened(Policy(reject), (*KNOWN, COMMON))
    route = router.route([FOREIGN])[0]
    assert route.expert == expert
    assert route.probabilities is not None
    assert route.probabilities[NONE] > 0.9


def test_the_best_expert_takes_rejects_by_default(opened: Open) -> None:
    assert opened(Policy()).route([""])[0].expert in KNOWN


def test_rejects_can_be_refused(opened: Open) -> None:
    router = opened(Policy("error"))
    with pytest.raises(RejectedPromptError, match="prompt 2 of 2 is in no language that an expert knows") as caught:
        router.route(["the house near a river", FOREIGN])
    assert "en, fr" in caught.value.fix
    with pytest.raises(RejectedPromptError, match="the prompt is in no language"):
        router.route([""])


def test_a_threshold_of_one_rejects_nothing(opened: Open) -> None:
    assert opened(Policy("error", 1.0)).route([""])[0].expert in KNOWN


def test_the_most_probable_of_some_experts_takes_what_another_would(opened: Open) -> None:
    router = opened(Policy("en"), ["fr"])
    assert router.route([FOREIGN])[0].expert == "fr"


def test_rejects_for_a_missing_common_expert_are_an_error_at_the_start(opened: Open) -> None:
    with pytest.raises(ArtifactError, match="to the common expert, and this mixture has none"):
        opened(Policy("common"))


@given(st.lists(st.text(st.characters()), max_size=5), st.sampled_from([BEST, COMMON, "fr"]))
@settings(deadline=None, max_examples=60)
def test_any_text_has_an_expert(routers: Mapping[str, PromptRouter], texts: list[str], reject: str) -> None:
    for route in routers[reject].route(texts):
        assert route.expert in (*KNOWN, COMMON)
        assert route.probabilities is not None
        assert sum(route.probabilities.values()) == pytest.approx(1)
