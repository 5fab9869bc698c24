from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ArtifactError
from serve.errors import UnknownModelError
from serve.messages import Sampling
from serve.mixture import Mixture

GREEDY = Sampling(max_tokens=8, temperature=0.0)


@pytest.fixture(scope="module")
def mixture(run_folder: Path) -> Mixture:
    return Mixture.open(run_folder)


@pytest.mark.parametrize(("prompt", "expert"), [("the house near a river", "en"), ("la maison près du fleuve", "fr")])
def test_auto_goes_to_the_expert_of_the_prompts_language(mixture: Mixture, prompt: str, expert: str) -> None:
    answer = mixture.generate(prompt, sampling=GREEDY)
    assert answer.expert == expert
    assert answer.probabilities is not None
    assert max(answer.probabilities, key=answer.probabilities.__getitem__) == expert
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer == mixture.generate(prompt, sampling=GREEDY)


def test_a_named_expert_answers_without_the_router(mixture: Mixture) -> None:
    answer = mixture.generate("la maison", model="en", sampling=GREEDY)
    assert (answer.expert, answer.probabilities) == ("en", None)
    assert answer.text != mixture.generate("la maison", model="fr", sampling=GREEDY).text


def test_an_unknown_name_is_refused_with_the_known_ones(mixture: Mixture) -> None:
    with pytest.raises(UnknownModelError) as caught:
        mixture.generate("hello", model="klingon")
    assert "auto, en, fr" in caught.value.fix


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no finished run"):
        Mixture.open(tmp_path)


def test_some_experts_are_enough(run_folder: Path) -> None:
    french = Mixture.open(run_folder, experts=["fr"])
    assert french.generate("the house near a river", sampling=GREEDY).expert == "fr"
    with pytest.raises(UnknownModelError, match="no model 'es'"):
        Mixture.open(run_folder, experts=["fr", "es"])
    with pytest.raises(UnknownModelError, match="no expert is left to serve"):
        Mixture.open(run_folder, experts=[])
