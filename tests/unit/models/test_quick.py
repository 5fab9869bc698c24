"""Faster operations give what the slower ones give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model, hidden_states
from orchestrator.models.quick import LONGEST_SCORES, quicken


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
