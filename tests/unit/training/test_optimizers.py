"""Which parameters an optimizer treats how; what every optimizer obeys is in tests/contracts/test_optimizers.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator import plugins
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.errors import PluginError, TrainingError
from orchestrator.models import build_model
from orchestrator.models.setups.ple import PLE
from orchestrator.products import decide
from orchestrator.training.optimizers.adamw import AdamW
from orchestrator.training.optimizers.muon import Muon, hidden_matrices, orthogonalised
from orchestrator.training.strategies.deepspeed import DeepSpeed


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Embedding(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))


def test_norms_and_biases_are_not_decayed():
    model = layers()
    decayed, kept = AdamW(weight_decay=0.1).build(model).param_groups
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert {id(p) for p in kept["params"]} == {id(model[1].weight), id(model[1].bias), id(model[2].bias)}


@pytest.mark.parametrize(
    "options", [{"lr": 0}, {"betas": [0.9, 1.0]}, {"weight_decay": -1}, {"eps": 0}, {"momentum": 1.0}]
)
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_bad_options_are_refused(name, options):
    with pytest.raises(PluginError, match="option"):
        plugins.create("training.optimizers", name, options)


@pytest.mark.parametrize("spec", ["gpt2", "mistral", "phi"])
def test_muon_takes_the_matrices_between_embedding_and_head(spec):
    model = build_model(PluginSpec(type=spec, layers=1, width=16, heads=4), 50, 16, seed=0)
    hidden = {id(parameter) for parameter in hidden_matrices(model)}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in hidden}
    matrices = {name for name, parameter in model.named_parameters() if parameter.ndim == 2}
    assert names
    assert not [name for name in names if "wte" in name or "wpe" in name or "embed" in name or "lm_head" in name]
    assert all("wte" in n or "wpe" in n or "embed" in n or "lm_head" in n for n in matrices - names)


def test_muon_leaves_the_heads_of_a_mixtures_experts_to_adamw():
    experts = {
        language: build_model(PluginSpec(type="gpt2", layers=1, width=16, heads=2), 50, 16, seed=0) for language in "ab"
    }
    for expert in experts.values():
        expert.set_output_embeddings(nn.Linear(16, 50, bias=False))
    model = PLE().assemble(experts)
    hidden = {id(parameter) for parameter in hidden_matrices(model)}
    assert hidden
    assert not [name for name, parameter in model.named_parameters() if id(parameter) in hidden and "lm_head" in name]


def test_muon_scales_the_learning_rate_of_the_rest():
    muon, *rest = Muon(lr=0.1, adamw_lr_scale=0.2).build(layers()).param_groups
    assert muon["lr"] == 0.1
    assert [group["lr_scale"] for group in rest] == [0.2, 0.2]
    assert [group["lr"] for group in rest] == pytest.approx([0.02, 0.02])


def test_muon_moves_a_matrix_as_far_as_adamw_whatever_its_shape():
    """Updates have a root mean square of 0.2 times the learning rate (arXiv:2502.16982)."""
    torch.manual_seed(0)
    for shape in ((64, 64), (32, 256), (256, 32)):
        layer = nn.Linear(*shape, bias=False)
        before = layer.weight.detach().clone()
        optimizer = Muon(lr=1.0, weight_decay=0).build(nn.Sequential(nn.LayerNorm(shape[0]), layer))
        layer.weight.grad = torch.randn_like(layer.weight)
        optimizer.step()
        moved = (layer.weight.detach() - before).pow(2).mean().sqrt()
        assert float(moved) == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_muon_on_shards_is_refused(tmp_path, zero):
    config, env = TrainingConfig(), Environment(work=tmp_path, strategy=PluginSpec(type="deepspeed", zero=zero))
    with pytest.raises(TrainingError, match=r"whole matrices, and ZeRO \d[\s\S]*zero: 0"):
        DeepSpeed(zero=zero).setup(layers(), Muon(), config, env)


def test_muon_learns_at_the_rate_of_its_groups_after_a_state_was_loaded() -> None:
    """accelerate 1.15, as transformers' Trainer prepares an optimizer, loads a state: torch then makes new groups."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Embedding(4, 8))
    optimizer = Muon(lr=0.1).build(model)
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for step in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        assert all(map(torch.equal, model.parameters(), before)) is (step == 0)
        for group in optimizer.param_groups:
            group["lr"] = 0.1
    assert {id(parameter) for parameter in optimizer.state} == {id(parameter) for parameter in model.parameters()}


@pytest.fixture
def _decided() -> Iterator[None]:
    yield
    decide()


@pytest.mark.usefixtures("_decided")
def test_muon_takes_the_same_steps_in_fp32_where_bf16_is_slow_and_goes_on_with_either() -> None:
    """torch 2.13's orthogonalises in bf16, which it multiplies in a plain loop on processors with AVX2 alone."""

    def trained(*fast: bool) -> tuple[list[Tensor], dict[Any, Any]]:
        draw = torch.Generator().manual_seed(0)
        model = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 8))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draw))
        optimizer = Muon(lr=0.1, weight_decay=0.1).build(model)
        for bf16 in fast:
            decide(bf16=bf16)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=draw)
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()], optimizer.state_dict()["state"]

    (slow, its), (fast, theirs), (mixed, _) = trained(False, False), trained(True, True), trained(True, False)
    for ours, others in zip(slow, fast, strict=True):
        torch.testing.assert_close(ours, others, rtol=0, atol=0.01)
    assert {key: set(state) for key, state in its.items()} == {key: set(state) for key, state in theirs.items()}
    for ours, others in zip(mixed, trained(False, True)[0], strict=True):
        torch.testing.assert_close(ours, others, rtol=0, atol=0.01)


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (6, 6)])
def test_orthogonalised_matrices_have_singular_values_of_about_one(shape: tuple[int, int]) -> None:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalised(drawn, (3.4445, -4.775, 2.0315), 5, 1e-7))
    assert values.min() > 0.3
    assert values.max() < 1.3
