"""The rules of Gopher's web text against repetition within a document (Rae et al., 2021, table A1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from orchestrator.corpus.deduplication import windows
from orchestrator.corpus.filters._words import is_unspaced, words_of
from orchestrator.corpus.judging import Filter, Verdict

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class GopherRepetition(Filter):
    """Drops documents that say the same again and again: lines, paragraphs, or runs of words. Of scripts without
    spaces, two characters count as a word. The first time that something stands there is no repetition.
    """

    languages: tuple[str, ...] = ()
    """Languages that it is for, by the recipe's names; empty: all prose."""
    max_lines: Share = 0.3
    """Share of lines that stood there before, at most."""
    max_line_characters: Share = 0.2
    """Their share of the characters, at most."""
    max_paragraphs: Share = 0.3
    """Share of paragraphs that stood there before, at most."""
    max_paragraph_characters: Share = 0.2
    """Their share of the characters, at most."""
    max_top: tuple[Share, ...] = (0.2, 0.18, 0.16)
    """Share of the characters that the most frequent run of 2, 3, 4 … words has, at most."""
    max_repeated: tuple[Share, ...] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.1)
    """Share of the characters in runs of 5, 6, 7 … words that stood there before, at most."""

    def judge(self, texts: Sequence[str], language: str) -> list[Verdict]:
        """The first rule that a text breaks drops it."""
        return [Verdict(text, self._of_parts(text) or self._of_words(text, language)) for text in texts]

    def _of_parts(self, text: str) -> str:
        lines = [line for line in text.split("\n") if line.strip()]
        paragraphs = [part for part in text.split("\n\n") if part.strip()]
        for name, parts, most, most_characters in (
            ("lines", lines, self.max_lines, self.max_line_characters),
            ("paragraphs", paragraphs, self.max_paragraphs, self.max_paragraph_characters),
        ):
            again = {part: count - 1 for part, count in Counter(parts).items() if count > 1}
            characters = sum(len(part) * count for part, count in again.items())
            if sum(again.values()) > most * len(parts) or characters > most_characters * len(text):
                return f"repeated {name}"
        return ""

    def _of_words(self, text: str, language: str) -> str:
        words = words_of(text.lower(), language)
        each = 2 if is_unspaced(language) else 1
        ends = np.cumsum([0, *map(len, words)])
        for count, most in enumerate(self.max_top, start=2):
            if _top(words, ends, count * each) > most:
                return f"one run of {count} words"
        for count, most in enumerate(self.max_repeated, start=5):
            if _repeated(words, ends, count * each) > most:
                return f"repeated runs of {count} words"
        return ""


def _top(words: list[str], ends: NDArray[np.int64], length: int) -> float:
    """Share of the characters that the most frequent run of words has, where there is one that repeats."""
    hashes = windows(words, length)
    found, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    if not len(found) or counts.max() < 2:
        return 0.0
    best = first[counts.argmax()]
    return float(counts.max() * (ends[best + length] - ends[best]) / ends[-1])


def _repeated(words: list[str], ends: NDArray[np.int64], length: int) -> float:
    """Share of the characters in runs of words that stood there before; none is counted twice."""
    hashes = windows(words, length)
    if not len(hashes):
        return 0.0
    again = np.ones(len(hashes), np.bool_)
    again[np.unique(hashes, return_index=True)[1]] = False
    starts = np.flatnonzero(again)
    steps = np.zeros(len(words) + 1, np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + length, -1)
    covered = np.cumsum(steps)[:-1] > 0
    return float(np.diff(ends)[covered].sum() / ends[-1])
