"""Models with fewer tokens: rows of embedding and head taken out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError


def keep_rows(model: nn.Module, rows_K: Tensor, *, rest: bool = False) -> None:
    """Cut a model's vocabulary, in place.

    Args:
        model: a transformers causal language model, on any device.
        rows_K: which rows stay, in the order that they will have, int64.
        rest: add one more row for all others: their mean.

    Raises:
        ModelError: transformers can't resize the model, or its head does not follow.
    """
    resized: Any = model
    layers = {"embedding": resized.get_input_embeddings(), "head": resized.get_output_embeddings()}
    tensors = [(layer, name) for layer in layers.values() for name in ("weight", "bias")]
    # Of what is tied the same rows are taken twice.
    kept = [None if _tensor(*place) is None else _taken(_tensor(*place), rows_K, rest) for place in tensors]
    size = len(rows_K) + rest
    resized.resize_token_embeddings(size, mean_resizing=False)
    layers = {"embedding": resized.get_input_embeddings(), "head": resized.get_output_embeddings()}
    tensors = [(layer, name) for layer in layers.values() for name in ("weight", "bias")]
    with torch.no_grad():
        for place, rows in zip(tensors, kept, strict=True):
            found = _tensor(*place)
            if (found is None) != (rows is None) or (rows is not None and found.shape != rows.shape):
                what = f"the vocabulary of {type(model).__name__} can't be cut to {size:,} rows"
                raise ModelError(what, "experts.vocabulary", "leave it out, or take another model")
            if rows is not None:
                found.copy_(rows)


def _tensor(layer: Any, name: str) -> Any:
    return getattr(layer, name, None)


def _taken(tensor: Tensor, rows_K: Tensor, rest: bool) -> Tensor:
    """Some rows [K, …] of a tensor [V, …], and the mean of the others where that is asked for."""
    rows_K = rows_K.to(tensor.device)
    taken = tensor.detach()[rows_K]
    if not rest:
        return taken
    others = torch.ones(len(tensor), dtype=torch.bool, device=tensor.device).index_fill_(0, rows_K, False)
    return torch.cat([taken, tensor.detach()[others].mean(0, keepdim=True)])
