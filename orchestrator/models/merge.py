"""Several trained models made into one: weight averages, and experts' feed-forwards as a token-routed mixture."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError

_WHERE = "models.merge"
_INCIDENTAL = ("_name_or_path", "architectures", "dtype", "transformers_version")
"""Keys of a configuration that say where a model comes from, not what it is."""


def average_weights(models: Sequence[nn.Module]) -> nn.Module:
    """The uniform average of the weights of models of one architecture (Branch-Train-Merge, arXiv:2208.03306).

    Returns:
        A new model, on the device of the first and in its mode.

    Raises:
        ModelError: there are none, or their architectures differ.
    """
    _check_alike(models)
    merged = copy.deepcopy(models[0])
    _fill(merged, _averages(models))
    return merged


def branch_train_mix(experts: Sequence[nn.Module], top: int = 2, balance: float = 0.01, seed: int = 0) -> nn.Module:
    """Experts of one architecture as a `token-moe` model (Branch-Train-MiX, arXiv:2403.07816, section 2.2).

    Their feed-forwards become the experts of the MoE layers, in the order given; everything else is averaged. The token
    routers begin random, so the model is to be finetuned.

    Args:
        experts: dense models.
        top: experts of a token.
        balance: weight of the load-balancing loss.
        seed: of the routers; torch's global generator is left as it was.

    Raises:
        ModelError: there are none, fewer than `top`, their architectures differ, or have no feed-forward to take.
    """
    from orchestrator.models._token_moe import TokenMoEConfig, TokenMoEForCausalLM, feed_forwards

    _check_alike(experts)
    if top > len(experts):
        raise ModelError(f"a token can't be sent to {top} of {len(experts)} experts", _WHERE, "lower top")
    base: Any = experts[0].config
    names = {key: getattr(base, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = TokenMoEConfig(base=base.to_dict(), experts=len(experts), top=top, balance=balance, **names)
    config._attn_implementation = base._attn_implementation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mixed: nn.Module = TokenMoEForCausalLM(config)
    weights = {f"model.{name}": tensor for name, tensor in _averages(experts).items()}
    for index, expert in enumerate(experts):
        for name in feed_forwards(expert):
            for key, tensor in expert.get_submodule(name).named_parameters():
                weights[f"model.{name}.experts.{index}.{key}"] = tensor
                weights.pop(f"model.{name}.{key}", None)
    _fill(mixed, weights)
    return mixed.to(next(experts[0].parameters()).device).train(experts[0].training)


def _averages(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Means by name, summed in fp64: the average of equal weights is equal to them, bit for bit."""
    columns = zip(*(model.named_parameters() for model in models), strict=True)
    return {
        column[0][0]: torch.stack([tensor.detach().double() for _, tensor in column]).mean(0).to(column[0][1].dtype)
        for column in columns
    }


def _fill(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights by name; what they don't name keeps what it has."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)


def _check_alike(models: Sequence[nn.Module]) -> None:
    if not models:
        raise ModelError("there is no model to merge", _WHERE, "give at least one")
    first, *others = (_identity(model) for model in models)
    for index, other in enumerate(others, 1):
        if differing := [key for key in first | other if first.get(key) != other.get(key)]:
            key = differing[0]
            raise ModelError(
                f"model {index} differs from model 0 in {key}: {other.get(key)} and {first.get(key)}",
                _WHERE,
                "merge models of one architecture, vocabulary and context",
            )


def _identity(model: nn.Module) -> dict[str, Any]:
    """What has to be equal: the configuration, and the shapes."""
    config: Any = model.config
    told = {key: value for key, value in config.to_dict().items() if key not in _INCIDENTAL}
    return told | {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
