"""Hashed character n-grams: text to buckets with a few numpy operations for a whole batch of documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDERS = 5
"""Characters of the longest n-gram; a position has one n-gram of each length 1 … ORDERS that begins there."""
PAD = " \0\0\0 "
"""Stands around and between documents: word boundaries outside, and at least ORDERS long so that no n-gram holds
characters of two documents."""
LONGEST = 1024
"""Characters of a document that are read."""
_HEAD, _SPAN = 512, 256

_FIRST = np.uint32(2654435761)
_STEP = np.uint32(2246822519)


def clip(text: str) -> str:
    """The text, or what is read of a long one: its head, and a span of its middle and of its end."""
    if len(text) <= LONGEST:
        return text
    middle = len(text) // 2
    return text[:_HEAD] + text[middle : middle + _SPAN] + text[-_SPAN:]


def buckets_of(joined: str, bits: int) -> NDArray[np.int32]:
    """Buckets of the n-grams of a text with PAD on both sides: int32 [ORDERS, N], by length and where they begin.

    A polynomial hash modulo 2^32, computed from one length to the next, of which the highest `bits` are kept. Any
    Unicode will do, lone surrogates included.
    """
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32) * _FIRST
    count = len(codes) - len(PAD)
    hashes = np.empty((ORDERS, count), np.uint32)
    hashes[0] = codes[:count]
    for order in range(1, ORDERS):
        row = hashes[order]
        np.multiply(hashes[order - 1], _STEP, row)
        np.add(row, codes[order : count + order], row)
    hashes >>= np.uint32(32 - bits)
    return hashes.view(np.int32)


def ngram_buckets(texts: Sequence[str], bits: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Buckets of the n-grams of clipped texts, at least one.

    Returns:
        int32 [ORDERS, N], see :func:`buckets_of`; and int64 [n + 1]: where each document's positions begin, and N.
    """
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + len(PAD), out=starts[1:])
    return buckets_of(PAD + PAD.join(texts) + PAD, bits), starts


def ngram_at(padded: str, position: int, order: int) -> str:
    """The n-gram behind one bucket of a single document, whose padded text is ``PAD + text + PAD``."""
    return padded[position : position + order].replace("\0", "")
