"""Whole words and longest n-grams of the training text, as sets: a foreign word is seldom among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers.text.ngrams import clip, highest, ngram_hashes
from orchestrator.routers.text.words import Words, word_hash

WORD_BITS, NGRAM_BITS = 23, 22
"""Logarithms of the sizes of the sets: 400,000 words take one in twenty of the first."""
_MASK = (1 << WORD_BITS) - 1
_BATCH = 10_000
"""Pieces whose n-grams are hashed at once: bounds the memory."""


@dataclass(frozen=True)
class Vocabulary:
    """Two sets of a bit an element (Bloom, CACM 1970, with a single hash).

    Attributes:
        words: uint8 [2^WORD_BITS / 8], without their case and the marks around them.
        ngrams: uint8 [2^NGRAM_BITS / 8], the longest ones.
    """

    words: NDArray[np.uint8]
    ngrams: NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Iterable[str], pieces: Sequence[str]) -> Vocabulary:
        """The words of texts, and the n-grams of pieces of them."""
        words = {word for text in texts for word in text.lower().split()}
        seen = np.zeros(1 << NGRAM_BITS, np.bool_)
        for begin in range(0, len(pieces), _BATCH):
            hashes = ngram_hashes([clip(piece) for piece in pieces[begin : begin + _BATCH]])
            seen[highest(hashes[-1], NGRAM_BITS)] = True
        known = np.zeros(1 << WORD_BITS, np.bool_)
        known[np.fromiter(map(word_hash, words), np.int64, len(words)) & _MASK] = True
        return cls(np.packbits(known, bitorder="little"), np.packbits(seen))

    def known(self, words: Words) -> NDArray[np.float64]:
        """Share of the words of each text that are in the set: float64 [n], 0 where a text has no word."""
        places = words.hashes & np.uint32(_MASK)
        found = self.words[places >> 3] >> (places & 7).astype(np.uint8) & 1
        rows = np.repeat(np.arange(len(words.counts)), words.counts)
        return np.bincount(rows, found, len(words.counts)) / np.maximum(1, words.counts)

    def known_alone(self, hashes: Sequence[int]) -> float:
        """:meth:`known` of the words of a single text."""
        table, found = self._table, 0
        for value in hashes:
            at = value & _MASK
            found += table[at >> 3] >> (at & 7) & 1
        return found / (len(hashes) or 1)

    def unseen(self, hashes: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """1 for hashes [N] of the longest n-grams that are not in the set, else 0."""
        return self._unseen.take(highest(hashes, NGRAM_BITS))

    @cached_property
    def _table(self) -> bytes:
        return self.words.tobytes()

    @cached_property
    def _unseen(self) -> NDArray[np.uint8]:
        return np.asarray(1 - np.unpackbits(self.ngrams), np.uint8)


def described() -> dict[str, int]:
    """What a program without this one needs to look up the sets."""
    return {"word_bits": WORD_BITS, "ngram_bits": NGRAM_BITS}
