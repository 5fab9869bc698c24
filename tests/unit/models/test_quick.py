"""Faster operations give what the slower ones give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model, hidden_states
from orchestrator.models.quick import LONGEST_SCORES, quicken, run_ahead


def gradients(model: nn.Module, bf16: bool) -> tuple[torch.Tensor, ...]:
    """Hidden states and the gradients of all parameters in a sum of them."""
    ids = torch.arange(32).view(2, 16) % 300
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        states = hidden_states(model, ids).float()
    weights = torch.linspace(-1, 1, states.numel()).view_as(states)
    used = [parameter for parameter in model.base_model.parameters() if parameter.requires_grad]
    return (states, *torch.autograd.grad((states * weights).sum(), used))


SMALL: dict[str, dict[str, Any]] = {
    "gpt2-nano": {},
    "phi": {"layers": 2, "width": 32, "heads": 2},
    "token-moe": {"base": "gpt2-nano", "experts": 2, "top": 1},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bf16", [False, True])
def test_states_and_gradients_are_the_same_but_for_rounding(name: str, bf16: bool) -> None:
    spec = PluginSpec.model_validate({"type": name, **SMALL[name]})
    model, quick = (build_model(spec, 300, 16, seed=0) for _ in range(2))
    quicken(quick, 16, bf16=bf16)
    assert [n for n, _ in quick.named_parameters()] == [n for n, _ in model.named_parameters()]
    for ours, theirs in zip(gradients(quick, bf16), gradients(model, bf16), strict=True):
        scale = float(theirs.detach().abs().max())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=(0.05 if bf16 else 1e-5) * scale + 1e-7)


@pytest.mark.parametrize(
    ("context", "bf16", "expected"),
    [(16, True, "eager"), (16, False, "sdpa"), (LONGEST_SCORES + 1, True, "sdpa")],
)
def test_scores_are_held_where_that_is_faster_and_fits(context: int, bf16: bool, expected: str) -> None:
    model = build_model(PluginSpec(type="gpt2-nano"), 300, context, seed=0)
    quicken(model, context, bf16=bf16)
    assert model.config._attn_implementation == expected
    assert any(isinstance(module, nn.GELU) for module in model.modules())


SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 100, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64} | SIZES,
    "llama": SIZES,
    "mistral": SIZES | {"sliding_window": 16},
    "phi": SIZES | {"num_key_value_heads": 4},
    "qwen2": SIZES,
    "qwen3": SIZES | {"head_dim": 8},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_makes_no_mask_is_the_same_to_the_last_bit_and_reads_no_number_of_the_device(family: str) -> None:
    """transformers 5.23 reads one in each pass: findings/transformers-forward-waits.sh."""
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family, **FAMILIES[family]), attn_implementation="sdpa"
    )
    model, ids = model.eval(), torch.arange(32).view(2, 16)
    with torch.no_grad():
        before = hidden_states(model, ids)
        run_ahead(model, 16)
        assert torch.equal(hidden_states(model, ids), before)
        hidden_states(model.to("meta"), ids.to("meta"))  # where there is no number to read


@pytest.mark.parametrize("family", ["mistral", "gemma3_text"])
def test_a_model_whose_layers_read_a_window_keeps_its_masks(family: str) -> None:
    config = AutoConfig.for_model(family, **SIZES | {"sliding_window": 8, "head_dim": 8})
    model, ids = (
        AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval(),
        torch.arange(32).view(2, 16),
    )
    with torch.no_grad():
        before = hidden_states(model, ids)
        run_ahead(model, 16)
        assert model.config._attn_implementation == "sdpa"
        assert torch.equal(hidden_states(model, ids), before)
