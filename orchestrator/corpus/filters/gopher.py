"""The quality rules of Gopher's web text (Rae et al., 2021, table A1), for any language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from orchestrator.corpus.filters._words import bare, is_unspaced, stop_words, word_count, words_of
from orchestrator.corpus.judging import Filter, Verdict
from orchestrator.routers.text import shipped

Share = Annotated[float, Field(ge=0, le=1)]
_BULLETS = ("•", "‣", "▪", "●", "◦", "*", "-", "–", "・")
_SYMBOLS = ("#", "…", "...")


@dataclass(frozen=True)
class Gopher(Filter):
    """Drops documents that are hardly prose: too short or long, of symbols, lists, cut lines, or without the words that
    every text has. Of scripts without spaces, two characters count as a word, and the lengths of words as nothing. Give
    it several times with `languages` to set languages apart.
    """

    languages: tuple[str, ...] = ()
    """Languages that it is for, by the recipe's names; empty: all prose."""
    min_words: Annotated[int, Field(ge=0)] = 50
    """Words of the shortest document that is kept."""
    max_words: Annotated[int, Field(ge=1)] = 100_000
    """Words of the longest document that is kept."""
    min_word_length: Annotated[float, Field(ge=0)] = 3.0
    """Least mean length of words, in characters. Languages with short words (Vietnamese) need less."""
    max_word_length: Annotated[float, Field(gt=0)] = 10.0
    """Largest mean length of words. Languages with long words (Finnish, Malayalam) need more."""
    max_symbols: Share = 0.1
    """Hash signs and ellipses, as a share of the words, at most."""
    max_bullets: Share = 0.9
    """Share of lines that begin with a bullet, at most."""
    max_ellipses: Share = 0.3
    """Share of lines that end with an ellipsis, at most."""
    min_alphabetic: Share = 0.8
    """Share of words with a letter, at least."""
    min_stop_words: Annotated[int, Field(ge=0)] = 2
    """Different words, at least, of the thirty that are in most of the language's texts that ship. Not asked for in
    languages of which too little ships, or whose words are of many parts (Korean, Finnish)."""

    def judge(self, texts: Sequence[str], language: str) -> list[Verdict]:
        """The first rule that a text breaks drops it."""
        return [Verdict(text, self._broken(text, language)) for text in texts]

    def check(self, language: str) -> str:  # noqa: ARG002
        """Digest of the text that ships, of which the frequent words are; "" where none are asked for."""
        return shipped.digest() if self.min_stop_words else ""

    def _broken(self, text: str, language: str) -> str:
        words = words_of(text, language)
        count = word_count(words, language)
        if not self.min_words <= count <= self.max_words or not words:
            return "too few words" if count < self.min_words or not words else "too many words"
        if not is_unspaced(language):
            length = sum(map(len, words)) / len(words)
            if not self.min_word_length <= length <= self.max_word_length:
                return "short words" if length < self.min_word_length else "long words"
        return self._of_symbols(text, words, count) or self._of_lines(text) or self._of_stop_words(words, language)

    def _of_symbols(self, text: str, words: list[str], count: float) -> str:
        if sum(map(text.count, _SYMBOLS)) > self.max_symbols * count:
            return "symbols"
        letters = sum(any(map(str.isalpha, word)) for word in words)
        marks = sum(len(word) == 1 and not word.isalnum() for word in words)  # of scripts where marks are units
        return "few letters" if letters < self.min_alphabetic * (len(words) - marks) else ""

    def _of_lines(self, text: str) -> str:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if sum(line.startswith(_BULLETS) for line in lines) > self.max_bullets * len(lines):
            return "bullets"
        cut = sum(line.endswith(("…", "...")) for line in lines)
        return "cut lines" if cut > self.max_ellipses * len(lines) else ""

    def _of_stop_words(self, words: list[str], language: str) -> str:
        known = stop_words(language)
        if not known or not self.min_stop_words:
            return ""
        found: set[str] = set()
        for word in words:
            if (plain := bare(word)) in known:
                found.add(plain)
                if len(found) >= self.min_stop_words:
                    return ""
        return "no stop words"
