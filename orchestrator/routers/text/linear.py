"""Training of linear models over buckets of n-grams and words: softmax regression by AdaGrad on small batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers.text.ngrams import ORDERS, PAD, highest, ngram_buckets
from orchestrator.routers.text.words import WEIGHT, Words

if TYPE_CHECKING:  # what runs a router needs numpy alone
    from scipy.sparse import csr_array

_FIRST = np.zeros(1, np.int64)
EPOCHS = 2
BATCH, STEPS = 8192, 100
"""Documents of a step, at most, and steps of an epoch, at least."""
LEARNING_RATE = 0.5


@dataclass(frozen=True)
class Examples:
    """Labelled texts, clipped. labels: int64 [n]. weights: float64 [n], how much each counts."""

    texts: Sequence[str]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]

    @cached_property
    def words(self) -> Words:
        """The words of the texts."""
        return Words.of(self.texts)


def scale_of(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """What scores of texts are multiplied with: one over the root of the number of n-grams."""
    return np.asarray(1.0 / np.sqrt((lengths + len(PAD)) * ORDERS), np.float64)


def softmax_regression(
    examples: Examples, classes: int, bits: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights float32 [2^bits, classes] and bias float32 [classes] of the n-grams and words of clipped texts.

    AdaGrad gives rare n-grams large steps (Duchi et al., JMLR 2011); few epochs of it need no other regularisation.
    """
    texts, words = examples.texts, examples.words
    scales = scale_of(np.fromiter(map(len, texts), np.int64, len(texts))).astype(np.float32)
    weights, bias = AdaGrad(1 << bits, classes), AdaGrad(1, classes)
    targets = np.eye(classes, dtype=np.float32)
    rng = np.random.default_rng(seed)
    batch = max(1, min(BATCH, len(texts) // STEPS))
    begins = range(0, len(texts), batch)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(texts))
        for step, begin in enumerate(begins):
            rows = order[begin : begin + batch]
            counts, there = _counts([texts[row] for row in rows.tolist()], words.of_rows(rows), bits)
            values = weights.values.take(there, axis=0)
            scores = (counts @ values) * scales[rows, None] + bias.values
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            share = (examples.weights[rows, None] / len(rows)).astype(np.float32)
            slopes = (odds / odds.sum(axis=1, keepdims=True) - targets[examples.labels[rows]]) * share
            rate = LEARNING_RATE * (1 - (epoch + step / len(begins)) / EPOCHS)
            weights.step(there, values, counts.T @ (slopes * scales[rows, None]), rate)
            bias.step(_FIRST, bias.values, slopes.sum(axis=0, keepdims=True), rate)
    return weights.values, bias.values[0]


class AdaGrad:
    """Rows of values, float32 [N, M], and the sum of their squared gradients."""

    def __init__(self, count: int, width: int) -> None:
        self.values = np.zeros((count, width), np.float32)
        self._squares = np.full((count, width), 1e-16, np.float32)  # the first step is finite, its size the rate's

    def step(
        self, rows: NDArray[np.int64], values: NDArray[np.float32], gradient: NDArray[np.float32], rate: float
    ) -> None:
        """Go against the gradient of some rows; that of all others is 0 and would change nothing.

        Args:
            rows: int64 [R].
            values: float32 [R, M], what they hold.
            gradient: float32 [R, M].
            rate: the learning rate. Both arrays are overwritten.
        """
        squares = self._squares.take(rows, axis=0)
        squares += gradient * gradient
        _put(self._squares, rows, squares)
        gradient *= np.float32(rate)
        gradient /= np.sqrt(squares, out=squares)
        values -= gradient
        _put(self.values, rows, values)


def _put(table: NDArray[np.float32], rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
    """``table[rows] = values``; rows as single items are copied several times as fast."""
    item = np.dtype((np.void, table.itemsize * table.shape[1]))
    np.put(table.view(item)[:, 0], rows, values.view(item)[:, 0])


def _counts(texts: Sequence[str], words: Words, bits: int) -> tuple[csr_array, NDArray[np.int64]]:
    """N-grams and words of clipped texts as a sparse matrix [n, B], and the buckets B that occur, in order.

    Those that occur twice stand there twice. Few of all buckets occur in a step: what is read stays in the processor's
    cache.
    """
    from scipy.sparse import csr_array

    orders, starts = ngram_buckets(texts, bits)
    pointers = starts * ORDERS
    at = np.repeat(pointers[1:], words.counts)
    ngrams = np.stack(orders, axis=1).ravel()
    indices = np.insert(ngrams, at, highest(words.hashes, bits))
    values = np.insert(np.ones(len(ngrams), np.float32), at, WEIGHT)
    pointers[1:] += np.cumsum(words.counts)
    occurs = np.zeros(1 << bits, np.bool_)
    occurs[indices] = True
    there = np.flatnonzero(occurs)
    places = np.cumsum(occurs, dtype=np.int32)
    places -= 1
    shape = (len(texts), len(there))
    return csr_array((values, places[indices], pointers.astype(np.int32)), shape=shape), there


def exact(values: NDArray[Any], step: float) -> NDArray[np.float32]:
    """Multiples of a power of two, 2,048 steps at most.

    float16 holds them, and sums over a text are exact in float32, whatever their order: a text's answer does not depend
    on what is routed beside it.
    """
    return np.asarray(np.clip(np.rint(values / step), -2048, 2048) * step, np.float32)
