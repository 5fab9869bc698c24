"""Hashed character n-grams: text to buckets with a few numpy operations for a whole batch of documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORDERS = 5
"""Characters of the longest n-gram; a position has one n-gram of each length 1 … ORDERS that begins there."""
_EDGE = "\1"
PAD = f" {3 * _EDGE} "
"""Stands around and between documents: word boundaries outside, and at least ORDERS long so that no n-gram holds
characters of two documents."""
LONGEST = 1024
"""Characters of a document that are read."""
_HEAD, _SPAN = 512, 256
"""Of a longer one: its first characters, and those of its middle and of its end."""

_FACTORS = np.array([[2654435761 * 2246822519**place % 2**32] for place in range(ORDERS)], np.uint32)
"""What a character of an n-gram is multiplied with, by its place: odd numbers, so that none loses bits modulo 2^32, and
large ones without a pattern, so that the highest bits of a sum, its bucket, hang on every character."""


def clip(text: str) -> str:
    """The text, or what is read of a long one: its head, and a span of its middle and of its end."""
    if len(text) <= LONGEST:
        return text
    middle = len(text) // 2
    return text[:_HEAD] + text[middle : middle + _SPAN] + text[-_SPAN:]


def ngram_hashes(texts: Sequence[str]) -> NDArray[np.uint32]:
    """Hashes of the n-grams of clipped texts: sums of multiples of their characters, modulo 2^32.

    Args:
        texts: at least one; any Unicode, lone surrogates included.

    Returns:
        uint32 [ORDERS, N]: of the n-gram of each length that begins at each position.
    """
    data = (PAD + PAD.join(texts) + PAD).encode("utf-32-le", "surrogatepass")
    count = len(data) // 4 - len(PAD)
    rows = np.ndarray((ORDERS, count), np.uint32, data, strides=(4, 4))  # each begins a character later
    hashes = np.asarray(rows * _FACTORS, np.uint32)
    for order in range(1, ORDERS):
        hashes[order] += hashes[order - 1]
    return hashes


def starts_of(texts: Sequence[str]) -> NDArray[np.int64]:
    """Where the positions of each document begin, and their number N: int64 [n + 1]."""
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + len(PAD), out=starts[1:])
    return starts


def highest(hashes: NDArray[np.uint32], bits: int) -> NDArray[np.int32]:
    """Bucket numbers: the highest `bits` of hashes."""
    return (hashes >> np.uint32(32 - bits)).view(np.int32)


def ngram_buckets(texts: Sequence[str], bits: int) -> tuple[list[NDArray[np.int32]], NDArray[np.int64]]:
    """Buckets of :func:`ngram_hashes`, for each length an int32 [N], and :func:`starts_of`."""
    return list(highest(ngram_hashes(texts), bits)), starts_of(texts)


def ngram_at(padded: str, position: int, order: int) -> str:
    """The n-gram behind one bucket of a single document, whose padded text is ``PAD + text + PAD``."""
    return padded[position : position + order].replace(_EDGE, "")


def described() -> dict[str, Any]:
    """What a program without this one needs to find the same buckets."""
    factors = [int(factor) for factor in _FACTORS[:, 0]]
    return {"pad": PAD, "factors": factors, "longest": LONGEST, "head": _HEAD, "span": _SPAN}
