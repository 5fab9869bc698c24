"""Token-routed models: what their layers compute, learn and cost."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from orchestrator.config.base import PluginSpec
from orchestrator.errors import ModelError, PluginError
from orchestrator.models import (
    auxiliary_loss,
    build_model,
    hidden_states,
    initialise_from_teacher,
    load_model,
    save_model,
)
from orchestrator.models.moe import MoELayer, load_balancing_loss
from orchestrator.training.batches import Batch
from orchestrator.training.objective import CrossEntropyObjective

VOCAB, CONTEXT = 64, 16
GPT2 = {"type": "gpt2", "layers": 2, "width": 16, "heads": 2}
MISTRAL = {"type": "mistral", "layers": 2, "width": 16, "heads": 2, "kv_heads": 1, "feed_forward": 32}
PHI = {"type": "phi", "layers": 2, "width": 16, "heads": 2}
each_base = pytest.mark.parametrize("base", [GPT2, MISTRAL, PHI], ids=lambda base: base["type"])


def spec(**options: object) -> PluginSpec:
    return PluginSpec.model_validate({"type": "token-moe", **options})


def moe(**options: object) -> nn.Module:
    return build_model(spec(**{"base": GPT2, **options}), VOCAB, CONTEXT, seed=0)


def layers(model: nn.Module) -> list[MoELayer]:
    return [module for module in model.modules() if isinstance(module, MoELayer)]


def tokens(blocks: int = 2) -> Tensor:
    return torch.randint(VOCAB, (blocks, CONTEXT), generator=torch.Generator().manual_seed(0))


def layer(experts: int = 4, top: int = 2, width: int = 8) -> MoELayer:
    torch.manual_seed(0)
    return MoELayer([nn.Linear(width, width) for _ in range(experts)], width, top, 0.01)


@each_base
def test_equal_copies_all_chosen_are_the_dense_base(base: dict[str, object]) -> None:
    dense = build_model(PluginSpec.model_validate(base), VOCAB, CONTEXT, seed=1).eval()
    sparse = moe(base=base, experts=3, top=3).eval()
    inner = dict(sparse.model.named_modules())
    for name, module in dense.named_modules():
        if name.endswith(".mlp"):
            for expert in inner[name].experts:
                expert.load_state_dict(module.state_dict())
    rest = {name: value for name, value in dense.state_dict().items() if ".mlp." not in name}
    sparse.model.load_state_dict(rest, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(sparse(tokens()).logits, dense(tokens()).logits, rtol=1e-5, atol=1e-6)


def test_layer_is_the_weighted_sum_of_the_chosen_experts() -> None:
    sparse = layer().eval()
    hidden_ND = torch.randn(5, 8)
    for token, result in zip(hidden_ND, sparse(hidden_ND), strict=True):
        values, chosen = sparse.router(token).topk(2)
        weights = values.softmax(0)
        expected = sum(weight * sparse.experts[int(e)](token) for weight, e in zip(weights, chosen, strict=True))
        torch.testing.assert_close(result, expected)


@each_base
def test_router_and_experts_learn(base: dict[str, object]) -> None:
    model = moe(base=base)
    hidden_states(model, tokens()).square().sum().backward()
    for each in layers(model):
        assert each.router.weight.grad is not None
        assert each.router.weight.grad.abs().sum() > 0
        assert all(parameter.grad is not None for parameter in each.parameters())


def test_every_expert_begins_with_weights_of_its_own_as_large_as_the_bases() -> None:
    first, second, *_ = layers(moe())[0].experts
    assert not torch.equal(first.c_proj.weight, second.c_proj.weight)
    dense = build_model(PluginSpec.model_validate(GPT2), VOCAB, CONTEXT, seed=0).transformer.h[0].mlp
    for ours, theirs in zip(first.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(ours.std(), theirs.std(), rtol=0.1, atol=1e-6)


def test_an_expert_without_tokens_has_no_influence_and_a_gradient_of_zero() -> None:
    sparse = layer(top=1)
    with torch.no_grad():
        sparse.router.weight.zero_()
        sparse.router.weight[0] = 1
    hidden_ND = torch.rand(6, 8)
    result = sparse(hidden_ND)
    torch.testing.assert_close(result, sparse.experts[0](hidden_ND))
    result.sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for e in sparse.experts[1:] for p in e.parameters())


def test_experts_compute_on_the_tokens_sent_to_them_only() -> None:
    sparse, seen = layer(experts=8, top=2), []
    for expert in sparse.experts:
        expert.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    sparse(torch.randn(3, 10, 8))
    assert sum(seen) == 3 * 10 * 2


def test_balance_is_least_where_experts_are_used_alike() -> None:
    even = load_balancing_loss(torch.zeros(8, 4), torch.tensor([4, 4, 4, 4]))
    assert even == pytest.approx(2)  # two experts a token
    skewed = torch.zeros(8, 4)
    skewed[:, 0] = 9.0
    assert load_balancing_loss(skewed, torch.tensor([8, 8, 0, 0])) > 3


def test_auxiliary_loss_is_weighted_differentiable_and_handed_out_once() -> None:
    model = moe(balance=0.5)
    hidden_states(model, tokens())
    loss = auxiliary_loss(model)
    assert loss is not None
    assert 1.0 <= loss.item() < 2.0
    loss.backward()
    assert all(each.router.weight.grad.abs().sum() > 0 for each in layers(model))
    assert auxiliary_loss(model) is None
    hidden_states(model.eval(), tokens())
    assert auxiliary_loss(model) is None
    assert auxiliary_loss(build_model(PluginSpec(type="gpt2-nano"), VOCAB, CONTEXT, seed=0)) is None


def test_objective_adds_the_balance_in_training_and_leaves_cross_entropy_alone() -> None:
    inputs = tokens()
    labels = inputs.roll(-1, 1).clone()
    labels[:, -1] = -100
    batch = Batch(inputs, labels, torch.zeros(2, 2, dtype=torch.int64))
    model, without = moe(balance=0.5), moe(balance=0.0)
    sums, plain = (CrossEntropyObjective().losses(each, batch, 1.0, 0.0) for each in (model, without))
    assert float(sums.ce) == float(plain.ce) == pytest.approx(plain.loss.item())
    assert 1.0 <= (sums.loss - sums.ce).item() / sums.tokens.item() < 2.0
    evaluated = CrossEntropyObjective().losses(model.eval(), batch, 1.0, 0.0)
    assert evaluated.loss.item() == evaluated.ce.item()


def test_copies_after_a_forward_pass() -> None:
    model = moe()
    hidden_states(model, tokens())
    auxiliary_loss(model)
    copied = copy.deepcopy(model)
    assert torch.equal(hidden_states(copied.eval(), tokens()), hidden_states(model.eval(), tokens()))


@pytest.mark.long
@each_base
def test_folder_opens_in_a_process_that_has_not_built_one(base: dict[str, object], tmp_path: Path) -> None:
    model = moe(base=base).eval()
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text("{}", encoding="utf-8")
    save_model(model, tokenizer, tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "model")(tokens()).logits, model(tokens()).logits)
    if base is not GPT2:
        return
    code = (
        "import sys; from pathlib import Path; from orchestrator.models import hidden_width, load_model; "
        "folder = Path(sys.argv[1]); print(hidden_width(folder), type(load_model(folder)).__name__)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["16", "TokenMoEForCausalLM"]
    pretrained = PluginSpec.model_validate({"type": "pretrained", "name": str(tmp_path / "model")})
    assert type(build_model(pretrained, VOCAB, CONTEXT, seed=0)).__name__ == "TokenMoEForCausalLM"


@each_base
def test_continues_with_a_cache_as_without(base: dict[str, object]) -> None:
    model = moe(base=base).eval()
    ids = tokens(1)
    with torch.no_grad():
        first = model(input_ids=ids[:, :-1], use_cache=True, logits_to_keep=1)
        last = model(input_ids=ids[:, -1:], past_key_values=first.past_key_values, use_cache=True).logits
        torch.testing.assert_close(last[:, -1], model(ids).logits[:, -1], rtol=1e-4, atol=1e-5)


def test_tied_as_the_base_is() -> None:
    model = moe()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    untied = moe(base={**GPT2, "tie": False})
    assert untied.get_output_embeddings().weight is not untied.get_input_embeddings().weight


def test_bf16_runs_and_routes_in_fp32() -> None:
    model, full = moe(), hidden_states(moe(), tokens())
    with torch.autocast("cpu", torch.bfloat16):
        half = hidden_states(model, tokens())
    assert auxiliary_loss(model).dtype == torch.float32
    torch.testing.assert_close(half.float(), full, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 2, "top": 3}, "3 of 2 experts"),
        ({"base": {"type": "gpt2", "width": 10, "heads": 3}}, "3 heads don't divide"),
        ({"base": "gpt9"}, "gpt2"),
        ({"base": {"type": "pretrained", "name": "distilgpt2"}}, "fresh weights"),
        ({"base": "token-moe"}, "fresh weights and dense"),
        ({"balance": -1}, "balance"),
    ],
)
def test_options_that_cannot_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        build_model(spec(**options), VOCAB, CONTEXT, seed=0)


def test_a_base_without_feed_forwards_by_that_name_is_refused() -> None:
    config = {"model_type": "opt", "hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(ModelError, match="no modules called 'mlp'"):
        moe(base={"type": "transformers", "config": config})


def test_begins_as_part_of_a_teacher_of_its_kind() -> None:
    teacher, student = moe(experts=3), moe(base={**GPT2, "layers": 1}, experts=3)
    initialise_from_teacher(student, teacher)
    ours, theirs = student.state_dict(), teacher.state_dict()
    assert ours.keys() < theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
