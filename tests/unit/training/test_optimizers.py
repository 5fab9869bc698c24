from __future__ import annotations

import pickle

import pytest
import torch

from orchestrator import plugins
from orchestrator.errors import PluginError
from orchestrator.training.optimizers.adamw import AdamW
from orchestrator.training.strategies._base import set_learning_rate


def parameters():
    model = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 2))
    return model, list(model.named_parameters())


def test_norms_and_biases_are_not_decayed():
    model, named = parameters()
    decayed, kept = AdamW(weight_decay=0.1).build(named).param_groups
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert {id(p) for p in kept["params"]} == {id(model[1].weight), id(model[1].bias), id(model[2].bias)}


def test_frozen_parameters_are_left_out():
    model, named = parameters()
    model[0].weight.requires_grad_(False)
    held = {id(p) for group in AdamW().build(named).param_groups for p in group["params"]}
    assert id(model[0].weight) not in held


def test_a_group_scales_the_learning_rate():
    optimizer = AdamW().build(parameters()[1])
    optimizer.param_groups[1]["lr_scale"] = 0.1
    set_learning_rate(optimizer, 2.0)
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, pytest.approx(0.2)]


@pytest.mark.parametrize("options", [{"lr": 0}, {"betas": [0.9, 1.0]}, {"weight_decay": -1}, {"eps": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(PluginError, match="option"):
        plugins.create("training.optimizers", "adamw", options)


def test_is_a_plugin_that_pickles():
    plugin = plugins.create("training.optimizers", "adamw", {"lr": 0.01})
    assert pickle.loads(pickle.dumps(plugin)) == plugin
