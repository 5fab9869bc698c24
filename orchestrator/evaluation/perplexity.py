"""Negative log-likelihood of packed blocks under a causal language model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.errors import ModelError
from orchestrator.heads import Head
from orchestrator.models import head, hidden_states
from orchestrator.models.streamed import all_of
from orchestrator.products import linear
from orchestrator.tokens.blocks import TokenBlocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from orchestrator.models.mixture import Branch

MAX_LOGITS = 2**24
"""Logits held at once (64 MiB in fp32), whatever the batch and the vocabulary."""


def block_losses(
    model: PreTrainedModel,
    blocks: TokenBlocks,
    language: str,
    count: int,
    batch: int = 16,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> NDArray[np.float64]:
    """Summed negative log-likelihood, in nats, of each of the first `count` blocks of a language.

    Divided by ``blocks.context`` it is the block's mean loss: every block has as many targets. Softmax is in fp32 and
    sums are in float64; the result does not depend on `batch` but for floating-point order.

    Args:
        model: in evaluation mode, on the device to compute on.
        blocks: the packed split.
        language: of the blocks.
        count: how many.
        batch: blocks in memory at once.
        precision: of the forward pass; bf16 by autocast, as in training.

    Returns:
        float64 [count].

    Raises:
        ModelError: the model does not fit the blocks, or a loss is not finite.
    """
    check_fit(model, blocks)
    row = blocks.languages.index(language)

    def measured(start: int) -> NDArray[np.float64]:
        stop = min(start + batch, count)
        rows = np.stack([np.full(stop - start, row), np.arange(start, stop)], axis=1)
        tokens = torch.from_numpy(blocks.gather(rows)).to(model.device)
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
            return np.asarray(token_losses(model, tokens).sum(dim=1, dtype=torch.float64).cpu())

    starts = [partial(measured, start) for start in range(0, count, batch)]
    losses = np.concatenate([np.empty(0), *all_of(model, starts, batch * blocks.context)])
    check_finite(losses, language)
    return losses


def check_finite(losses: NDArray[np.float64], language: str) -> None:
    """Check the losses of a language's blocks.

    Raises:
        ModelError: one is not finite.
    """
    if not np.isfinite(losses).all():
        index = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise ModelError(
            f"the loss of block {index} of {language!r} is not finite", fix="train the model again (--force)"
        )


def token_losses(model: PreTrainedModel | Branch, tokens: Tensor) -> Tensor:
    """Negative log-likelihood of each next token; logits are made in chunks of positions.

    Args:
        model: the language model.
        tokens: int64 [B, T+1].

    Returns:
        float32 [B, T].
    """
    return head_losses(hidden_states(model, tokens[:, :-1]), head(model), tokens[:, 1:])


def head_losses(hidden_BTD: Tensor, layer: Head, targets_BT: Tensor) -> Tensor:
    """As :func:`token_losses`, from hidden states and a head.

    Args:
        hidden_BTD: last hidden states.
        layer: the head.
        targets_BT: int64.

    Returns:
        float32 [B, T].
    """
    hidden, targets = hidden_BTD.flatten(0, 1), targets_BT.reshape(-1)
    size = max(1, MAX_LOGITS // len(layer.weight))
    chunks = [
        cross_entropy(layer.logits(states, linear).float(), labels, reduction="none")
        for states, labels in zip(torch.split(hidden, size), torch.split(targets, size), strict=True)
    ]
    return torch.cat(chunks).view(targets_BT.shape)


def check_fit(model: PreTrainedModel | Branch, blocks: TokenBlocks) -> None:
    """Check that the model takes the blocks' tokens and length.

    Raises:
        ModelError: its vocabulary is smaller than the tokenizer's, or its context shorter than a block.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if len(head(model).weight) < blocks.vocab_size:
        raise ModelError(
            f"the model knows {len(head(model).weight)} tokens, the blocks were made with {blocks.vocab_size}",
            where=str(model.config.name_or_path),
            fix="use the tokenizer that the model was trained with (tokenizer.path), or train the model again",
        )
    if positions is not None and positions < blocks.context:
        raise ModelError(
            f"the model sees {positions} tokens, the blocks hold {blocks.context}",
            where=str(model.config.name_or_path),
            fix=f"set blocks.context to {positions} or less",
        )
