"""The level of guessing: a model that knows how often each token occurs in a language, and no order of tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.tokens.blocks import TokenBlocks

FREQUENCIES = "frequencies"
"""Its name among the models that were evaluated."""
_BLOCKS = 4096


def frequency_losses(train: TokenBlocks, held_out: TokenBlocks, language: str, count: int) -> NDArray[np.float64]:
    """Summed negative log-likelihood, in nats, of each of a language's first `count` held-out blocks.

    Every token has the share that it has of the language's training blocks, where each token counts once more than it
    occurs: none is impossible.

    Args:
        train: what frequencies are counted in.
        held_out: what is predicted.
        language: of both.
        count: how many blocks.

    Returns:
        float64 [count].
    """
    size = train.vocab_size
    seen = np.ones(size, np.int64)
    for rows in _rows(train, language, train.count(language)):
        seen += np.bincount(train.gather(rows)[:, 1:].ravel(), minlength=size)
    surprise = np.log(seen.sum()) - np.log(seen)
    parts = (surprise[held_out.gather(rows)[:, 1:]] for rows in _rows(held_out, language, count))
    return np.concatenate([part.sum(axis=1) for part in parts])


def _rows(blocks: TokenBlocks, language: str, count: int) -> list[NDArray[np.int64]]:
    """Rows for :meth:`TokenBlocks.gather` of the first blocks, so many at once that memory stays bounded."""
    index = blocks.languages.index(language)
    numbers = np.arange(count)
    return [
        np.stack([np.full(len(part), index), part], axis=1)
        for part in np.split(numbers, range(_BLOCKS, count, _BLOCKS))
    ]
