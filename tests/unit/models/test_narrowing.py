"""Students that begin as the larger part of a wider teacher."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.config.base import PluginSpec
from orchestrator.errors import ModelError
from orchestrator.models import build_model, check_beginning, initialise_from_teacher
from orchestrator.models.narrowing import narrow
from orchestrator.models.zoo.gpt2 import GPT2
from orchestrator.models.zoo.mistral import Mistral
from orchestrator.models.zoo.phi import Phi
from orchestrator.models.zoo.transformers import Transformers

IDS = torch.arange(32).view(2, 16) * 7 % 61


def other(kind: str, width: int, heads: int, **more: Any) -> Transformers:
    sizes = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 2 * width}
    return Transformers({"model_type": kind, "num_hidden_layers": 2, "head_dim": 8, **sizes, **more})


FAMILIES = {
    "gpt2": lambda width, heads: GPT2(2, width, heads),
    "gpt2, untied": lambda width, heads: GPT2(2, width, heads, tie=False),
    "mistral": lambda width, heads: Mistral(2, width, heads, kv_heads=heads // 2, feed_forward=3 * width),
    "phi": lambda width, heads: Phi(2, width, heads),
    "llama": lambda width, heads: other("llama", width, heads, num_key_value_heads=heads // 2),
    "qwen2": lambda width, heads: Transformers(
        {
            "model_type": "qwen2",
            "num_hidden_layers": 2,
            "hidden_size": width,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "intermediate_size": 2 * width,
        }
    ),
    "qwen3": lambda width, heads: other("qwen3", width, heads, num_key_value_heads=heads // 2),
}


def neox(width: int, heads: int) -> Transformers:
    sizes = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 2 * width}
    return Transformers({"model_type": "gpt_neox", "num_hidden_layers": 2, **sizes})


def spec(model: Any) -> PluginSpec:
    return PluginSpec(type=type(model).__module__.rpartition(".")[2], **asdict(model))


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(input_ids=IDS).logits
    return found


def layers(model: Any) -> Any:
    return model.transformer.h if hasattr(model, "transformer") else model.model.layers


@pytest.mark.parametrize("family", FAMILIES)
def test_to_turn_the_whole_stream_changes_nothing(family: str) -> None:
    teacher = build_model(FAMILIES[family](32, 4), 64, 16, 0)
    with torch.no_grad():  # gains that are not all one; a tied head can't take them in
        for name, parameter in teacher.named_parameters():
            if "norm" in name and "weight" in name:
                parameter.mul_(torch.linspace(0.5, 1.5, len(parameter)))
    student = build_model(FAMILIES[family](32, 4), 64, 16, 1)
    narrow(student, teacher, dict(zip(layers(student), layers(teacher), strict=True)))
    torch.testing.assert_close(logits(student), logits(teacher), rtol=1e-4, atol=1e-5)


def test_a_teacher_that_uses_half_its_width_loses_nothing() -> None:
    """It is a model of half its width, turned into a wider stream, beside heads that say nothing."""
    small = build_model(Mistral(2, 16, 2, kv_heads=1, feed_forward=24), 64, 16, 3)
    teacher = build_model(Mistral(2, 32, 4, kv_heads=2, feed_forward=40), 64, 16, 4)
    turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(5)))[0][:, :16]
    with torch.no_grad():
        for (name, wide), narrow_one in zip(teacher.named_parameters(), small.parameters(), strict=True):
            if "norm" in name:
                continue
            narrow_one.mul_(10)  # so that the norms' epsilon, which does not shrink with the width, counts for nothing
            wide.zero_()
            if "embed" in name:
                wide.copy_(narrow_one @ turn.T)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                wide[:, -narrow_one.shape[1] :] = turn @ narrow_one
            else:
                wide[-len(narrow_one) :] = narrow_one @ turn.T / 2**0.5
    torch.testing.assert_close(logits(teacher), logits(small), rtol=1e-3, atol=1e-3)
    student = build_model(Mistral(2, 16, 2, kv_heads=1, feed_forward=24), 64, 16, 6)
    initialise_from_teacher(student, teacher)
    torch.testing.assert_close(logits(student), logits(small), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrower_student_begins_nearer_to_its_teacher_than_a_random_one(family: str) -> None:
    teacher = build_model(FAMILIES[family](32, 4), 64, 16, 0)
    scales = torch.logspace(0, -2, 32)  # embeddings with directions that matter
    with torch.no_grad():
        teacher.get_input_embeddings().weight.mul_(scales)
    student = build_model(FAMILIES[family](16, 2), 64, 16, 1)
    begun = build_model(FAMILIES[family](16, 2), 64, 16, 1)
    initialise_from_teacher(begun, teacher)
    said, ours, random = (logits(model).flatten() for model in (teacher, begun, student))
    assert torch.corrcoef(torch.stack([said, ours]))[0, 1] > torch.corrcoef(torch.stack([said, random]))[0, 1] + 0.2
    again = build_model(FAMILIES[family](16, 2), 64, 16, 7)
    initialise_from_teacher(again, teacher)  # whatever it was before
    assert all(torch.equal(a, b) for a, b in zip(begun.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("student", "teacher", "told"),
    [
        (GPT2(3, 16, 2), GPT2(2, 32, 4), "the student has 3 layers, its teacher only 2"),
        (GPT2(2, 64, 4), GPT2(2, 32, 4), "the student's width of 64 is more than its teacher's 32"),
        (GPT2(2, 16, 4), GPT2(2, 32, 4), "the student's heads have 4 numbers each, its teacher's 8"),
        (Mistral(2, 16, 2, 2), Mistral(2, 32, 4, 1), "2 key-value heads with 1 heads each, its teacher 1 with 4"),
        (neox(16, 2), neox(32, 4), "gpt2, llama, mistral, phi, qwen2, qwen3, not of gpt_neox"),
        (GPT2(2, 16, 2), Mistral(2, 32, 4, 4), "the student is a GPT2LMHeadModel, its teacher a MistralForCausalLM"),
    ],
    ids=["deeper", "wider", "heads", "groups", "family", "architecture"],
)
def test_what_does_not_fit_is_told(student: Any, teacher: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        initialise_from_teacher(build_model(student, 64, 16, 0), build_model(teacher, 64, 16, 0))
    assert caught.value.fix
    with pytest.raises(ModelError, match=told):  # before there is a teacher
        check_beginning(spec(student), spec(teacher), 64, 16)


def test_what_was_found_to_fit_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = spec(GPT2(2, 16, 2)), spec(GPT2(2, 32, 4))
    check_beginning(*fitting, 64, 16)
    monkeypatch.setattr("orchestrator.models.initialise.build_model", None)
    check_beginning(*fitting, 64, 16)
    with pytest.raises(TypeError):
        check_beginning(*fitting, 64, 32)
