"""An expert of a mixture with a common expert is served as it was trained: beside the common one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.errors import ArtifactError
from orchestrator.models.inference import routed_logits
from orchestrator.models.mixture_files import load_mixture
from serve.engine import Engine
from serve.engine.forward import Combined, open_expert
from serve.messages import GenerationRequest, Sampling

Write = Callable[[Path, PluginSpec], Path]
PROMPTS = ["the house", "la maison près du fleuve où", "é", "river river river river"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_mixture: Write) -> Path:
    return write_mixture(tmp_path_factory.mktemp("mixture"), PluginSpec(type="moe_ce", combiner="gate"))


@torch.inference_mode()
def test_tokens_are_those_of_the_mixture_alone_and_in_a_batch(folder: Path) -> None:
    engine, mixture = Engine.load(folder / "experts" / "fr"), load_mixture(folder)
    sampling = Sampling(max_tokens=12, temperature=0.0)
    batch = engine.generate([GenerationRequest(prompt, sampling) for prompt in PROMPTS])
    for prompt, done in zip(PROMPTS, batch, strict=True):
        ids = engine.tokenizer.encode_prompt(prompt)
        length = len(ids)
        for _ in range(12):
            logits = routed_logits(mixture, torch.tensor([ids]), torch.tensor([[0.0, 1.0]]))[
                0, -1, : len(engine.tokenizer.bytes)
            ]
            ids.append(int(logits.argmax()))
            if ids[-1] == engine.tokenizer.end:
                break
        text = b"".join(engine.tokenizer.bytes[token] for token in ids[length:]).decode("utf-8", "replace")
        assert done.text.rstrip("\ufffd") == text.rstrip("\ufffd")
        assert done.completion_tokens == len(ids) - length
        assert done == engine.generate([GenerationRequest(prompt, sampling)])[0]


def test_experts_without_a_common_one_are_plain_models(tmp_path: Path, write_mixture: Write, folder: Path) -> None:
    plain = write_mixture(tmp_path, PluginSpec(type="jeet"))
    assert not isinstance(open_expert(plain / "experts" / "en"), Combined)
    assert isinstance(open_expert(folder / "experts" / "en"), Combined)
    assert not isinstance(open_expert(folder / "experts" / "en", common=False), Combined)


def test_a_mixture_without_its_common_expert_is_refused(tmp_path: Path, write_mixture: Write) -> None:
    broken = write_mixture(tmp_path, PluginSpec(type="moe_ce", combiner="gate"))
    (broken / "common" / "model.safetensors").unlink()
    with pytest.raises(ArtifactError):
        Engine.load(broken / "experts" / "en")
