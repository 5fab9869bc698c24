"""Whole words of texts, hashed: a linear model that adds up parts of a word can't know that it is that very word."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

WEIGHT = 3.0
"""What a word counts beside an n-gram."""
_WORDS, _HEAD = 8, 160
"""Words of a text that are read, and the characters that they are looked for in: n-grams say enough of more."""
_MARKS = ".,;:!?…\"'“”„«»‘’()"


class Words(NamedTuple):
    """Hashes of the first words of some texts, uint32 [W], and how many of them each text has, int64 [n]."""

    hashes: NDArray[np.uint32]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """Of any texts; blank ones have none."""
        words: list[str] = []
        counts = np.zeros(len(texts), np.int64)
        for row, text in enumerate(texts):
            found = first_words(text)
            counts[row] = len(found)
            words += found
        table = {word: crc_of(word) for word in set(words)}
        return cls(np.fromiter(map(table.__getitem__, words), np.uint32, len(words)), counts)

    def places(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Consecutive places for each text's words, int64 [W], from where `starts` [n] says."""
        firsts = np.cumsum(self.counts) - self.counts
        return np.repeat(starts - firsts, self.counts) + np.arange(self.counts.sum())

    def of_rows(self, rows: NDArray[np.int64]) -> Words:
        """The words of some of the texts."""
        starts = np.cumsum(self.counts) - self.counts
        chosen = Words(self.hashes, self.counts[rows])
        return Words(self.hashes[chosen.places(starts[rows])], chosen.counts)


def word_hashes(text: str) -> list[int]:
    """:func:`word_hash` of the first words of a text, those that are read."""
    return list(map(word_hash, first_words(text)))


def first_words(text: str) -> list[str]:
    """The first words of a text in lower case, those that are read."""
    return text[:_HEAD].lower().split(None, _WORDS)[:_WORDS]


def crc_of(word: str) -> int:
    """CRC-32 of a word in lower case, without the marks around it."""
    return crc32(bare(word).encode("utf-8", "surrogatepass"))


word_hash = lru_cache(1 << 16)(crc_of)
"""The same, kept: a prompt waits for it."""


def bare(word: str) -> str:
    """A word without the marks around it."""
    return word.strip(_MARKS)


def described() -> dict[str, Any]:
    """What a program without this one needs to find the same words."""
    return {"word_weight": WEIGHT, "words": _WORDS, "word_head": _HEAD, "marks": _MARKS}
