"""Parameters, active parameters and FLOPs a token."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.config.base import PluginSpec
from orchestrator.models import Size, build_model, mixture_size, model_size, outer_size, parameter_count

VOCAB, CONTEXT = 96, 32
GPT2 = {"type": "gpt2", "layers": 3, "width": 16, "heads": 2}
MISTRAL = {"type": "mistral", "layers": 2, "width": 16, "heads": 2, "kv_heads": 1, "feed_forward": 40}
PHI = {"type": "phi", "layers": 2, "width": 16, "heads": 2}


def spec(options: dict[str, object]) -> PluginSpec:
    return PluginSpec.model_validate(options)


def moe(base: dict[str, object], experts: int, top: int) -> PluginSpec:
    return spec({"type": "token-moe", "base": base, "experts": experts, "top": top})


@pytest.mark.parametrize("options", [GPT2, MISTRAL, PHI], ids=lambda options: options["type"])
@pytest.mark.parametrize("top", [None, 1, 2])
def test_flops_are_those_that_torch_counts_but_for_the_causal_mask(options: dict[str, object], top: int | None) -> None:
    """torch counts attention without its mask: twice as much."""
    given = spec(options) if top is None else moe(options, 4, top)
    model = build_model(given, VOCAB, CONTEXT, 0).eval()
    model.set_attn_implementation("eager")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.arange(CONTEXT).unsqueeze(0) % VOCAB)
    attention = 4 * options["layers"] * options["width"] * CONTEXT / 2
    counted = counter.get_total_flops() / CONTEXT - attention
    assert model_size(given, VOCAB, CONTEXT).flops_per_token == pytest.approx(counted, rel=0.01)


def test_all_of_a_dense_model_is_active() -> None:
    size = model_size(spec(GPT2), VOCAB, CONTEXT)
    assert size.parameters == size.active_parameters == parameter_count(spec(GPT2), VOCAB, CONTEXT)


def test_of_an_moe_the_top_experts_are_active() -> None:
    dense, sparse = model_size(spec(GPT2), VOCAB, CONTEXT), model_size(moe(GPT2, 4, 2), VOCAB, CONTEXT)
    feed_forward = 3 * (2 * 4 * 16 * 16 + 4 * 16 + 16)
    routers = 3 * 4 * 16
    assert sparse.parameters == dense.parameters + 3 * feed_forward + routers
    assert sparse.active_parameters == dense.parameters + feed_forward + routers


def test_mixtral_8x7b_is_47b_of_which_13b_are_active() -> None:
    """Mixtral's paper (arXiv:2401.04088, section 1)."""
    base = {"type": "mistral", "layers": 32, "width": 4096, "heads": 32, "kv_heads": 8, "feed_forward": 14336}
    size = model_size(moe(base, 8, 2), 32_000, 32_768)
    assert size.parameters == pytest.approx(46.7e9, rel=0.005)
    assert size.active_parameters == pytest.approx(12.9e9, rel=0.005)


def test_mixtures_add_up() -> None:
    expert, common, outer = Size(100, 100, 200.0), Size(110, 110, 220.0), Size(30, 30, 40.0)
    assert mixture_size(expert, 4) == Size(400, 100, 200.0)
    assert mixture_size(expert, 4, shared=outer) == Size(310, 100, 200.0)
    assert mixture_size(expert, 4, common, outer) == Size(400 + 110 - 4 * 30, 180, 380.0)


def test_outer_parts_count_tied_weights_once() -> None:
    assert outer_size(spec(GPT2), VOCAB, CONTEXT) == Size(VOCAB * 16, VOCAB * 16, 2.0 * VOCAB * 16)
    untied = outer_size(spec({**GPT2, "tie": False}), VOCAB, CONTEXT)
    assert untied == Size(2 * VOCAB * 16, 2 * VOCAB * 16, 2.0 * VOCAB * 16)
    assert outer_size(spec(PHI), VOCAB, CONTEXT).parameters == 2 * VOCAB * 16 + VOCAB
