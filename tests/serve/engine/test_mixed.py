"""Several experts as one model: the mean of their distributions, token by token."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.models import load_model
from serve.engine import Engine, EngineOptions
from serve.errors import RequestError
from serve.files import MixtureFiles
from serve.messages import GenerationRequest, Sampling
from serve.mixture import Mixture

PROMPTS = ("the house near", "la maison près du fleuve où", "é")
WEIGHTS = {"en": 0.3, "fr": 0.7}


@pytest.fixture(scope="module")
def folders(run_folder: Path) -> dict[str, Path]:
    return dict(MixtureFiles.of(run_folder).experts)


@pytest.fixture(scope="module")
def engine(folders: dict[str, Path]) -> Engine:
    return Engine.mixed({name: Engine.load(folder) for name, folder in folders.items()})


def asked(prompt: str, weights: dict[str, float] | None = None, **how: object) -> GenerationRequest:
    given = {"max_tokens": 8, "temperature": 0.0, "logprobs": 3, **how}
    return GenerationRequest(prompt, Sampling(**given), weights=weights or WEIGHTS)  # type: ignore[arg-type]


@torch.inference_mode()
def test_a_token_is_the_most_probable_of_the_experts_weighted_mean(engine: Engine, folders: dict[str, Path]) -> None:
    models = {name: load_model(folder) for name, folder in folders.items()}
    for prompt in PROMPTS:
        (done,) = engine.generate([asked(prompt)])
        ids = engine.tokenizer.encode_prompt(prompt)
        assert done.logprobs
        for token, told in zip(done.tokens, done.logprobs, strict=True):
            known = len(engine.tokenizer.bytes)
            mean = sum(
                share * models[name](torch.tensor([ids])).logits[0, -1, :known].double().softmax(-1)
                for name, share in WEIGHTS.items()
            )
            assert token == int(mean.argmax())
            assert told.logprob == pytest.approx(math.log(mean[token]), abs=1e-4)
            ids.append(token)


def test_answers_are_to_the_bit_the_same_beside_others_with_other_weights(engine: Engine) -> None:
    several = [asked(prompt, {"en": share, "fr": 1 - share}) for prompt in PROMPTS for share in (0.0, 0.25, 1.0)]
    assert engine.generate(several) == [engine.generate([each])[0] for each in several]
    seeded = asked(PROMPTS[0], temperature=1.0, seed=3)
    (whole,) = engine.generate([seeded])
    rest = GenerationRequest(PROMPTS[0], seeded.sampling, 0, whole.tokens[:4], weights=WEIGHTS)
    assert engine.generate([rest])[0].tokens == whole.tokens


def test_one_expert_with_all_the_weight_answers_as_it_does_alone(engine: Engine, folders: dict[str, Path]) -> None:
    alone = Engine.load(folders["fr"])
    for prompt in PROMPTS:
        assert engine.generate([asked(prompt, {"fr": 2.0})])[0].tokens == alone.generate([asked(prompt)])[0].tokens


def test_weights_must_leave_somebody_to_answer(engine: Engine) -> None:
    for weights in ({"es": 1.0}, {"en": 0.0}, {"en": float("nan")}):
        with pytest.raises(RequestError, match="no expert has a part"):
            engine.submit([asked("a", weights)])


def test_experts_of_different_vocabularies_are_not_mixed(folders: dict[str, Path], padded_model: Path) -> None:
    same = Engine.mixed({"en": Engine.load(folders["en"]), "padded": Engine.load(padded_model)})
    assert same.generate([asked("the", {"padded": 1.0})])[0].tokens
    other = Engine.load(folders["fr"])
    other.tokenizer.bytes = (*other.tokenizer.bytes[:-1], b"zz")
    with pytest.raises(RequestError, match="vocabularies of their own") as caught:
        Engine.mixed({"en": Engine.load(folders["en"]), "fr": other})
    assert caught.value.fix == "ask for auto, or for an expert by its name"


def test_an_expert_computes_without_the_common_one_where_it_is_asked_to(
    tmp_path: Path, write_mixture: Callable[[Path, PluginSpec], Path]
) -> None:
    folder = write_mixture(tmp_path, PluginSpec(type="moe_ce", combiner="gate")) / "experts" / "fr"
    both, alone = Engine.load(folder), Engine.load(folder, common=False)
    how = Sampling(max_tokens=8, temperature=0.0, logprobs=1)
    without = [GenerationRequest(prompt, how, common=False) for prompt in PROMPTS]
    beside = [GenerationRequest(prompt, how) for prompt in PROMPTS]
    assert both.generate([*without, *beside]) == [*alone.generate(without), *both.generate(beside)]
    assert both.generate(without) != both.generate(beside)


def test_mixture_in_process_mixes(run_folder: Path, tmp_path: Path) -> None:
    mixture = Mixture.open(shutil.copytree(run_folder, tmp_path / "fake"))
    how = Sampling(max_tokens=6, temperature=0.0)
    answer = mixture.generate(PROMPTS[1], "soft", how)
    assert (answer.expert, sorted(answer.probabilities or {})) == ("soft", ["en", "fr"])
    (route,) = mixture.router.route([PROMPTS[1]], "soft")
    assert route.weights == answer.probabilities


def test_a_prompt_longer_than_a_chunk_is_answered_though_its_first_piece_wants_no_logits(engine: Engine) -> None:
    chunked = Engine.mixed({name: Engine(part, engine.tokenizer) for name, part in engine.forward.experts.items()},  # type: ignore[attr-defined]
                           EngineOptions(chunk=16))  # fmt: skip
    request = asked("the house near a river " * 4, max_tokens=4)
    assert len(engine.tokenizer.encode_prompt(request.prompt)) > 16
    assert chunked.generate([request]) == engine.generate([request])
