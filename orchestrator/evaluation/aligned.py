"""Losses of a teacher with other tokens, on the text of the same blocks: it reads them in its own.

A token of the teacher's counts to the block whose targets it ends in, so all text counts once, as for any other model.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.evaluation.perplexity import check_finite, token_losses
from orchestrator.models.streamed import all_of
from orchestrator.tokens.aligned import AlignedBlocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def aligned_losses(
    model: PreTrainedModel, blocks: AlignedBlocks, language: str, count: int, batch: int = 16
) -> NDArray[np.float64]:
    """Summed negative log-likelihood, in nats, of the text of each of a language's first `count` blocks.

    Args:
        model: the teacher, in evaluation mode, on the device to compute on.
        blocks: the packed split, with its text in the teacher's tokens.
        language: of the blocks.
        count: how many.
        batch: blocks in memory at once.

    Raises:
        ModelError: a loss is not finite.
    """
    row, split = blocks.languages.index(language), blocks.aligned(language)

    def measured(start: int) -> NDArray[np.float64]:
        numbers = np.arange(start, min(start + batch, count))
        ids_BW = torch.from_numpy(blocks.windows(np.stack([np.full_like(numbers, row), numbers], axis=1)).ids)
        begin, first, end = (torch.from_numpy(split.windows[numbers, place])[:, None] for place in range(3))
        at_BW: Tensor = torch.arange(1, ids_BW.shape[1])[None]
        counted_BW = (at_BW >= first - begin) & (at_BW < end - begin)
        with torch.inference_mode():
            nats_BW = token_losses(model, ids_BW.to(model.device)).cpu().double()
        return np.asarray(nats_BW.masked_fill(~counted_BW, 0).sum(1))

    starts = [partial(measured, start) for start in range(0, count, batch)]
    losses = np.concatenate([np.empty(0), *all_of(model, starts, batch * blocks.context)])
    check_finite(losses, language)
    return losses
