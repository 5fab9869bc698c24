"""How large models are, and what a token costs: for tables that compare a mixture with dense models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from orchestrator.config.base import PluginSpec
from orchestrator.models.build import build_model
from orchestrator.models.moe import MoELayer
from orchestrator.models.zoo._base import Architecture


@dataclass(frozen=True)
class Size:
    """Of a model.

    Attributes:
        parameters: all, tied ones once.
        active_parameters: those that one token is computed with, embedding table and head counted whole, as the
            literature does (Mixtral: 47B, of which 13B are active).
        flops_per_token: floating-point operations of a forward pass, a token.
    """

    parameters: int
    active_parameters: int
    flops_per_token: float


def model_size(spec: PluginSpec | Architecture, vocab_size: int, context: int) -> Size:
    """Size of an architecture, without allocating it.

    FLOPs after Kaplan et al. (arXiv:2001.08361, section 2.1): 2 × the matrix parameters applied to a token, and for
    attention 4 × layers × width × context / 2, which is the mean of what a causal mask leaves. Looking up an embedding
    counts nothing; the head, which they leave out, counts, tied or not. Of an MoE layer the router and `top` experts
    count.

    Args:
        spec: architecture.
        vocab_size, context: of the blocks, in tokens.

    Raises:
        ModelError: the model does not fit the vocabulary or context.
    """
    model: Any = build_model(spec, vocab_size, context, 0, "meta")
    idle = {id(parameter): share for parameter, share in _idle(model)}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    unused = sum(parameter.numel() * idle.get(id(parameter), 0.0) for parameter in model.parameters())
    applied = sum(matrix.numel() * (1 - idle.get(id(matrix), 0.0)) for matrix in _matrices(model))
    attention = 4 * model.config.num_hidden_layers * model.config.hidden_size * context / 2
    return Size(parameters, round(parameters - unused), 2 * applied + attention)


def outer_size(spec: PluginSpec | Architecture, vocab_size: int, context: int) -> Size:
    """Size of an architecture's token embedding and head alone: what the experts of a mixture may share.

    Raises:
        ModelError: the model does not fit the vocabulary or context.
    """
    model: Any = build_model(spec, vocab_size, context, 0, "meta")
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    parameters = {id(p): p.numel() for module in (embedding, head) for p in module.parameters()}
    count = sum(parameters.values())
    return Size(count, count, 2.0 * head.weight.numel())


def mixture_size(expert: Size, experts: int, common: Size | None = None, shared: Size | None = None) -> Size:
    """Size of a mixture of which every sequence uses one expert, and the common expert where there is one.

    Args:
        expert: each of them.
        experts: how many.
        common: the common expert, run beside each.
        shared: embedding and head (:func:`outer_size`) where all have them in common: held, and the head applied, once.
    """
    held, used = experts + (common is not None), 1 + (common is not None)
    outer, beside = shared or Size(0, 0, 0.0), common or Size(0, 0, 0.0)
    return Size(
        parameters=experts * expert.parameters + beside.parameters - (held - 1) * outer.parameters,
        active_parameters=expert.active_parameters + beside.active_parameters - (used - 1) * outer.active_parameters,
        flops_per_token=expert.flops_per_token + beside.flops_per_token - (used - 1) * outer.flops_per_token,
    )


def _matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    """Weights that tokens are multiplied with: those of two dimensions, but for the tables of embeddings."""
    for module in model.modules():
        if not isinstance(module, nn.Embedding):
            yield from (p for p in module.parameters(recurse=False) if p.ndim == 2)


def _idle(model: nn.Module) -> Iterator[tuple[nn.Parameter, float]]:
    """Parameters that not every token is computed with, and the share of tokens that are not."""
    for layer in model.modules():
        if isinstance(layer, MoELayer):
            for parameter in layer.experts.parameters():
                yield parameter, 1 - layer.top / len(layer.experts)
