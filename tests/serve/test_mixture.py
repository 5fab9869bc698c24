from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import load_run
from orchestrator.artifacts import Store
from orchestrator.errors import ArtifactError
from serve.errors import ContextLengthError, UnknownModelError
from serve.expert import ExpertReplica
from serve.files import MixtureFiles
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


def test_a_run_generates_what_the_context_has_room_for_unless_told_how_much(run_folder: Path) -> None:
    run = load_run(run_folder)
    made = run.generate("the house near a river", model="en", temperature=0)
    assert 0 < made.completion_tokens <= 64
    with pytest.raises(ContextLengthError):
        run.generate("the house near a river", model="en", max_tokens=100_000)


def test_an_unknown_name_is_refused_with_the_known_ones(mixture: Mixture) -> None:
    with pytest.raises(UnknownModelError) as caught:
        mixture.generate("hello", model="klingon")
    assert "auto, en, fr" in caught.value.fix


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no finished run"):
        Mixture.open(tmp_path)


@pytest.fixture
def damaged(run_folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the run with 64 bytes of a file overwritten."""

    def damage(pattern: str) -> Path:
        root = shutil.copytree(run_folder, tmp_path / "fake")
        (path,) = root.glob(pattern)
        data = bytearray(path.read_bytes())
        data[-64:] = bytes(64)
        path.write_bytes(data)
        return root

    return damage


def test_damaged_weights_are_not_generated_with(damaged: Callable[[str], Path]) -> None:
    root = damaged("stages/expert-fr/*/model/model.safetensors")
    mixture = Mixture.open(root)
    assert mixture.generate("the house", model="en", sampling=GREEDY).expert == "en"
    with pytest.raises(ArtifactError, match=r"model.safetensors of expert-fr in the run fake has changed") as caught:
        mixture.generate("la maison", model="fr", sampling=GREEDY)
    assert caught.value.fix == "make it again: mome run RECIPE --force expert-fr"


@pytest.mark.parametrize("name", ["tokenizer", "router"])
def test_a_damaged_router_or_tokenizer_is_not_read(damaged: Callable[[str], Path], name: str) -> None:
    root = damaged(f"stages/{name}/*/{name}.json")
    with pytest.raises(ArtifactError, match=rf"{name}.json of {name} in the run fake has changed"):
        Mixture.open(root)


def test_damaged_weights_are_not_served(damaged: Callable[[str], Path]) -> None:
    root = damaged("stages/expert-fr/*/model/model.safetensors")
    with pytest.raises(ArtifactError, match=r"expert-fr in the run fake has changed"):
        MixtureFiles.of(root).check()
    folder = MixtureFiles.of(root).expert("fr")
    with pytest.raises(ArtifactError, match=r"expert-fr in the run fake has changed"):
        ExpertReplica(folder)  # one that starts again later
    assert MixtureFiles.of(root).only(["en"]).check()


def test_a_run_that_was_moved_is_read_where_it_is(run_folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run_folder, tmp_path / "elsewhere" / "renamed")
    files = MixtureFiles.of(moved).check()
    assert all(path.is_relative_to(moved) for path in (files.tokenizer, files.router, *files.experts.values()))


def test_a_run_without_a_router_says_what_is_missing(run_folder: Path, tmp_path: Path) -> None:
    store = Store(shutil.copytree(run_folder, tmp_path / "half"))
    store.set_current("half", {name: made for name, made in store.current().items() if name != "router"})
    with pytest.raises(ArtifactError, match=r"the run has no router[\s\S]*finish it: mome run RECIPE"):
        Mixture.open(store.root)


def test_some_experts_are_enough(run_folder: Path) -> None:
    french = Mixture.open(run_folder, experts=["fr"])
    assert french.generate("the house near a river", sampling=GREEDY).expert == "fr"
    with pytest.raises(UnknownModelError, match="no model 'es'"):
        Mixture.open(run_folder, experts=["fr", "es"])
    with pytest.raises(UnknownModelError, match="no expert is left to serve"):
        Mixture.open(run_folder, experts=[])
