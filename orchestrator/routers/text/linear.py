"""Training of linear models over buckets of n-grams and words: softmax regression by AdaGrad on small batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers.text.ngrams import ORDERS, PAD, clip, highest, ngram_buckets
from orchestrator.routers.text.words import WEIGHT, Words

if TYPE_CHECKING:  # what runs a router needs numpy alone
    from scipy.sparse import csr_array

EPOCHS = 2
BATCH, STEPS = 8192, 100
"""Documents of a step, at most, and steps of an epoch, at least."""
LEARNING_RATE = 0.5
_BLOCK = 1 << 13
"""Rows that are updated at once."""


@dataclass(frozen=True)
class Examples:
    """Labelled texts. labels: int64 [n]. weights: float64 [n], how much each counts."""

    texts: Sequence[str]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]


def scale_of(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """What scores of texts are multiplied with: one over the root of the number of n-grams."""
    return np.asarray(1.0 / np.sqrt((lengths + len(PAD)) * ORDERS), np.float64)


def softmax_regression(
    examples: Examples, classes: int, bits: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights float32 [2^bits, classes] and bias float32 [classes] of the n-grams and words of clipped texts.

    AdaGrad gives rare n-grams large steps (Duchi et al., JMLR 2011); few epochs of it need no other regularisation.
    """
    texts = [clip(text) for text in examples.texts]
    words = Words.of(texts)
    scales = scale_of(np.fromiter(map(len, texts), np.int64, len(texts))).astype(np.float32)
    weights, bias = AdaGrad((1 << bits, classes)), AdaGrad((classes,))
    targets = np.eye(classes, dtype=np.float32)
    rng = np.random.default_rng(seed)
    batch = max(1, min(BATCH, len(texts) // STEPS))
    begins = range(0, len(texts), batch)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(texts))
        for step, begin in enumerate(begins):
            rows = order[begin : begin + batch]
            counts = _counts([texts[row] for row in rows.tolist()], words.of_rows(rows), bits)
            scores = (counts @ weights.values) * scales[rows, None] + bias.values
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            share = (examples.weights[rows, None] / len(rows)).astype(np.float32)
            slopes = (odds / odds.sum(axis=1, keepdims=True) - targets[examples.labels[rows]]) * share
            rate = LEARNING_RATE * (1 - (epoch + step / len(begins)) / EPOCHS)
            weights.step(counts.T @ (slopes * scales[rows, None]), rate)
            bias.step(slopes.sum(axis=0), rate)
    return weights.values, bias.values


class AdaGrad:
    """Values, float32, and the sum of their squared gradients."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.values = np.zeros(shape, np.float32)
        self._squares = np.full(shape, 1e-16, np.float32)

    def step(self, gradient: NDArray[np.float32], rate: float) -> None:
        """Go against the gradient, which is overwritten; a block that stays in the processor's cache at a time."""
        for begin in range(0, len(gradient), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            slopes, squares = gradient[block], self._squares[block]
            squares += slopes * slopes
            slopes *= np.float32(rate)
            slopes /= np.sqrt(squares)
            self.values[block] -= slopes


def _counts(texts: Sequence[str], words: Words, bits: int) -> csr_array:
    """N-grams and words of clipped texts as a sparse matrix [n, 2^bits]; those that occur twice stand there twice."""
    from scipy.sparse import csr_array

    orders, starts = ngram_buckets(texts, bits)
    pointers = starts * ORDERS
    at = np.repeat(pointers[1:], words.counts)
    ngrams = np.stack(orders, axis=1).ravel()
    indices = np.insert(ngrams, at, highest(words.hashes, bits))
    values = np.insert(np.ones(len(ngrams), np.float32), at, WEIGHT)
    pointers[1:] += np.cumsum(words.counts)
    return csr_array((values, indices, pointers.astype(np.int32)), shape=(len(texts), 1 << bits))


def exact(values: NDArray[Any], step: float) -> NDArray[np.float32]:
    """Multiples of a power of two, 2,048 steps at most.

    float16 holds them, and sums over a text are exact in float32, whatever their order: a text's answer does not depend
    on what is routed beside it.
    """
    return np.asarray(np.clip(np.rint(values / step), -2048, 2048) * step, np.float32)
