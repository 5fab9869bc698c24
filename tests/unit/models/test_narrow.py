"""A frozen teacher with weights in autocast's type says the same to the last bit."""

from __future__ import annotations

import copy

import torch

from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model, head, hidden_states
from orchestrator.models.quick import narrow
from orchestrator.teacher._base import narrowed


def test_states_are_the_same_to_the_last_bit_and_shared_weights_stay() -> None:
    model = build_model(PluginSpec(type="gpt2", layers=2, width=32, heads=2), 50, 16, seed=0)
    model.eval().requires_grad_(False)
    narrow_one, ids = copy.deepcopy(model), torch.arange(32).view(2, 16)
    narrow(narrow_one, torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(hidden_states(narrow_one, ids), hidden_states(model, ids))
        assert narrowed(head(model)).weight.dtype == torch.bfloat16
    assert head(narrow_one).weight.dtype == torch.float32
    assert narrowed(head(model)).weight.dtype == torch.float32
    kinds = {p.dtype for name, p in narrow_one.named_parameters() if ".attn." in name or ".mlp." in name}
    assert kinds == {torch.bfloat16}


def test_weights_that_learn_stay() -> None:
    model = build_model(PluginSpec(type="gpt2", layers=1, width=16, heads=2), 50, 16, seed=0)
    narrow(model, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
