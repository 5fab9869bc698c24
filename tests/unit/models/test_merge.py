"""Weight averages, and experts mixed into a token-routed model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from orchestrator.config.base import PluginSpec
from orchestrator.errors import ModelError
from orchestrator.models import average_weights, branch_train_mix, build_model, hidden_states, weights_digest

VOCAB, CONTEXT = 64, 16
GPT2 = {"type": "gpt2", "layers": 2, "width": 16, "heads": 2}
MISTRAL = {"type": "mistral", "layers": 2, "width": 16, "heads": 2, "kv_heads": 1, "feed_forward": 32}
PHI = {"type": "phi", "layers": 2, "width": 16, "heads": 2}
each_base = pytest.mark.parametrize("base", [GPT2, MISTRAL, PHI], ids=lambda base: base["type"])


def expert(seed: int, base: dict[str, object] = GPT2, **options: object) -> nn.Module:
    return build_model(PluginSpec.model_validate({**base, **options}), VOCAB, CONTEXT, seed).eval()


def tokens() -> Tensor:
    return torch.randint(VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(0))


@each_base
def test_average_is_the_mean_of_every_weight_and_leaves_its_sources_alone(base: dict[str, object]) -> None:
    experts = [expert(seed, base) for seed in range(3)]
    before = [weights_digest(each) for each in experts]
    merged = dict(average_weights(experts).named_parameters())
    for name, parameter in merged.items():
        mean = sum(dict(each.named_parameters())[name] for each in experts) / 3
        torch.testing.assert_close(parameter, mean)
    assert [weights_digest(each) for each in experts] == before


def test_average_of_equal_models_is_that_model_bit_for_bit() -> None:
    assert weights_digest(average_weights([expert(0)] * 3)) == weights_digest(expert(0))


def test_average_keeps_ties() -> None:
    merged = average_weights([expert(0), expert(1)])
    assert merged.get_output_embeddings().weight is merged.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"width": 32}, "model 1 differs from model 0 in n_embd: 32 and 16"),
        ({"heads": 4}, "n_head: 4 and 2"),
        ({"layers": 1}, "n_layer: 1 and 2"),
        ({"tie": False}, "tie_word_embeddings"),
    ],
)
def test_other_architectures_are_refused(other: dict[str, object], message: str) -> None:
    for merge in (average_weights, branch_train_mix):
        with pytest.raises(ModelError, match=message):
            merge([expert(0), expert(0, **other)])


def test_nothing_to_merge_and_too_few_experts_are_refused() -> None:
    with pytest.raises(ModelError, match="no model"):
        average_weights([])
    with pytest.raises(ModelError, match="2 of 1 experts"):
        branch_train_mix([expert(0)], top=2)


@each_base
def test_mix_takes_feed_forwards_whole_and_averages_the_rest(base: dict[str, object]) -> None:
    experts = [expert(seed, base) for seed in range(3)]
    mixed = dict(branch_train_mix(experts).named_parameters())
    average = dict(average_weights(experts).named_parameters())
    own = {
        f"model.{name.replace('.mlp.', f'.mlp.experts.{index}.')}": parameter
        for index, each in enumerate(experts)
        for name, parameter in each.named_parameters()
        if ".mlp." in name
    }
    rest = {f"model.{name}": parameter for name, parameter in average.items() if ".mlp." not in name}
    assert {name for name in mixed if ".router." not in name} == {*own, *rest}
    assert all(torch.equal(mixed[name], parameter) for name, parameter in {**own, **rest}.items())


@each_base
def test_mix_of_equal_experts_is_that_expert_whatever_the_routers_say(base: dict[str, object]) -> None:
    mixed = branch_train_mix([expert(0, base)] * 4, top=2)
    assert not mixed.training
    with torch.no_grad():
        torch.testing.assert_close(mixed(tokens()).logits, expert(0, base)(tokens()).logits, rtol=1e-5, atol=1e-6)


def test_routers_begin_random_from_the_seed() -> None:
    experts = [expert(seed) for seed in range(2)]
    state = torch.random.get_rng_state()
    first, again, other = (branch_train_mix(experts, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert weights_digest(first) == weights_digest(again) != weights_digest(other)
    routers = [parameter for name, parameter in first.named_parameters() if ".router." in name]
    assert len(routers) == 2
    assert all(router.std() > 0 for router in routers)


def test_mix_is_of_the_zoos_architecture() -> None:
    spec = PluginSpec.model_validate({"type": "token-moe", "base": GPT2, "experts": 3, "top": 1, "balance": 0.5})
    built, mixed = build_model(spec, VOCAB, CONTEXT, 0), branch_train_mix([expert(0)] * 3, top=1, balance=0.5)
    built.load_state_dict(mixed.state_dict())
    assert torch.equal(hidden_states(built.eval(), tokens()), hidden_states(mixed, tokens()))
