"""Training of linear models over n-gram buckets: softmax regression by AdaGrad on small batches, with torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers._ngrams import ORDERS, PAD, clip, ngram_buckets

EPOCHS = 2
BATCH = 8192
LEARNING_RATE = 0.6


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
    examples: Examples, classes: int, bits: int, seed: int, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights float32 [2^bits, classes] and bias float32 [classes] of the n-grams of clipped texts.

    AdaGrad gives rare n-grams large steps (Duchi et al., JMLR 2011); few epochs of it need no other regularisation.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _fit(torch, examples, classes, bits, seed)
    finally:
        torch.set_num_threads(before)


def _fit(
    torch: Any, examples: Examples, classes: int, bits: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    texts = [clip(text) for text in examples.texts]
    orders, starts = ngram_buckets(texts, bits)
    buckets = np.ascontiguousarray(orders.T)
    scales = scale_of(np.fromiter(map(len, texts), np.int64, len(texts)))
    weights = torch.zeros(1 << bits, classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.Adagrad([weights, bias], lr=LEARNING_RATE, eps=1e-8)
    rng = np.random.default_rng(seed)
    count = len(texts)
    begins = range(0, count, BATCH)
    for epoch in range(EPOCHS):
        order = rng.permutation(count)
        for step, begin in enumerate(begins):
            rows = order[begin : begin + BATCH]
            lengths = starts[rows + 1] - starts[rows]
            offsets = np.cumsum(lengths) - lengths
            places = np.arange(lengths.sum()) + np.repeat(starts[rows] - offsets, lengths)
            flat, bags = (
                torch.from_numpy(buckets[places].ravel()),
                torch.from_numpy((offsets * ORDERS).astype(np.int32)),
            )
            sums = torch.nn.functional.embedding_bag(flat, weights, bags, mode="sum")
            scores = sums * torch.from_numpy(scales[rows, None].astype(np.float32)) + bias
            losses = torch.nn.functional.cross_entropy(
                scores, torch.from_numpy(examples.labels[rows]), reduction="none"
            )
            loss = (losses * torch.from_numpy(examples.weights[rows].astype(np.float32))).sum() / len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - (epoch + step / len(begins)) / EPOCHS)
            optimizer.step()
    return weights.detach().numpy(), bias.detach().numpy()
