"""Whole words of the training text, as a set that a lookup of one bit answers: a foreign word is seldom among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BITS = 23
"""Logarithm of the number of bits: 400,000 words take one in twenty of them."""
WORDS = 8
"""Words of a text that are looked up, its first ones: in longer texts n-grams say enough."""
_MASK = (1 << BITS) - 1
_MARKS = ".,;:!?…\"'“”„«»‘’()"


@dataclass(frozen=True)
class Vocabulary:
    """A set of words without their case and the marks around them (Bloom, CACM 1970, with a single hash).

    Attributes:
        bits: uint8 [2^BITS / 8].
    """

    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """The words of texts."""
        words = {word for text in texts for word in text.split()}
        table = np.zeros(1 << BITS, np.bool_)
        table[np.fromiter(map(_hash, words), np.int64, len(words))] = True
        return cls(np.packbits(table, bitorder="little"))

    def known(self, text: str) -> float:
        """Share of the first words of a text that are in the set."""
        words = text.split(None, WORDS)[:WORDS]
        table = self._table
        return sum(table[(at := _hash(word)) >> 3] >> (at & 7) & 1 for word in words) / max(1, len(words))

    @cached_property
    def _table(self) -> bytes:
        return self.bits.tobytes()


def _hash(word: str) -> int:
    return crc32(word.lower().strip(_MARKS).encode("utf-8", "surrogatepass")) & _MASK
