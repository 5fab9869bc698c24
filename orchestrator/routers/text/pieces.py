"""Pieces of documents of the lengths that people type: from one word to a page."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers.text.units import of_characters, of_words, single_words
from orchestrator.scripts import has_unspaced

_LETTER = re.compile(r"[^\W\d_]")
_SYMBOL = re.compile(r"[_=()\[\]{}<>+*/@#%&|\\\d]|\w\.\w")
_FRESH = frozenset({tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT})
_LONGEST_WORD = 40
"""Characters below which something between spaces is taken for a word: longer ones are addresses and data."""
_SHORT = 60
"""Pieces of code of fewer characters hold a sign of code."""
_WHOLE = 256
"""Characters from which pieces of Python may hold comments and docstrings."""


class _Form(Protocol):
    """What a piece of a length looks like."""

    def __call__(self, count: int, *, unspaced: bool) -> re.Pattern[str]: ...


@dataclass(frozen=True)
class LanguageTexts:
    """Documents of one language: to train on, and held out for calibration. is_code: what its name is one of."""

    train: Sequence[str]
    held_out: Sequence[str]
    is_code: bool = False


@dataclass(frozen=True)
class Lengths:
    """How many pieces of each length: words (by number of words) and characters (by number of characters)."""

    words: dict[int, int]
    characters: dict[int, int]

    @classmethod
    def training(cls, pieces: int) -> Lengths:
        """The mixture that is trained on, beside the single words."""
        share = pieces // 10
        some, few = max(1, share // 2), max(1, share // 8)
        return cls(
            {1: share, 2: 2 * share, 3: 2 * share, 5: share}, {20: 3 * share, 40: share, 80: some, 200: some, 600: few}
        )

    @classmethod
    def buckets(cls, pieces: int) -> Lengths:
        """The same number of each length that is reported."""
        return cls({1: pieces, 2: pieces}, {20: pieces, 50: pieces, 100: pieces, 256: pieces})


class Pieces:
    """Documents of one language, to be cut.

    Python (documents that parse as such) is cut from what is code where pieces are short: a word of a comment or of a
    docstring is a word of its prose, and so is a name without any sign of code in it ("data").

    Attributes:
        is_code: whether the documents are Python.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Texts without any letter are left out."""
        whole = [text for text in texts if _LETTER.search(text)]
        sample = whole[:: max(1, len(whole) // 20)]  # about twenty documents tell whether all are Python
        self.is_code = bool(sample) and sum(_parses(text) for text in sample) > len(sample) / 2
        self._long = _Places(whole)
        code = [code for text in whole if _LETTER.search(code := code_only(text))] if self.is_code else []
        self._short = _Places(code) if code else self._long

    def __bool__(self) -> bool:
        return self._long.size > 0

    @property
    def short(self) -> Sequence[str]:
        """What short pieces are cut from: the documents; of Python, without its comments and docstrings."""
        return self._short.texts

    def words(self) -> Counter[str]:
        """How often each word occurs, white space apart."""
        counts = Counter(word for text in self.short for word in single_words(text))
        return Counter(
            {word: count for word, count in counts.items() if self._kept(word) and len(word) < _LONGEST_WORD}
        )

    def cut(self, lengths: Lengths, rng: np.random.Generator) -> dict[str, list[str]]:
        """Random pieces that begin at a word and hold a letter, by the name of their length ("2 words")."""
        by_words = {plural(k, "word"): self._cut(self._short, n, rng, of_words, k) for k, n in lengths.words.items()}
        by_characters = {
            plural(k, "character"): self._cut(self._short if k < _WHOLE else self._long, n, rng, of_characters, k)
            for k, n in lengths.characters.items()
        }
        return by_words | by_characters

    def lines(self, count: int, rng: np.random.Generator) -> list[str]:
        """Random lines of code, without those that hold comment or docstring alone; none for prose."""
        if not self.is_code:
            return []
        lines = [line for text in self.short for line in text.splitlines() if self._kept(line)]
        return [lines[i] for i in rng.integers(len(lines), size=count)] if lines else []

    def _cut(self, places: _Places, count: int, rng: np.random.Generator, make: _Form, length: int) -> list[str]:
        found: list[str] = []
        form = make(length, unspaced=places.unspaced)
        # Four tries for a piece: some places are too near to the end, and some pieces are not kept.
        for piece in places.pieces(rng.integers(places.size, size=4 * count), form) if places.size else ():
            if piece and (self._kept(piece) if len(piece) < _SHORT else _LETTER.search(piece)):
                found.append(piece)
                if len(found) == count:
                    break
        return found

    def _kept(self, piece: str) -> bool:
        return bool(_LETTER.search(piece)) and (not self.is_code or bool(_SYMBOL.search(piece)))


class _Places:
    """Places in some texts, each as likely as any other; a piece begins at the first word from there.

    Attributes:
        unspaced: whether some text has a script that parts no words by spaces.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self.size = int(self.ends[-1]) if texts else 0
        self.unspaced = any(map(has_unspaced, texts))

    def pieces(self, places: NDArray[np.int64], form: re.Pattern[str]) -> Iterator[str]:
        """What `form` finds from each place on; "" where the document ends before."""
        documents = np.searchsorted(self.ends, places, "right")
        begins = places - np.concatenate([[0], self.ends])[documents]
        for document, begin in zip(documents.tolist(), begins.tolist(), strict=True):
            found = form.search(self.texts[document], begin)
            yield found[0] if found else ""


def plural(count: int, noun: str) -> str:
    """A length by its name: "1 word", "20 characters"."""
    return f"{count} {noun}" + ("s" if count != 1 else "")


def code_only(text: str) -> str:
    """Python source without its comments and docstrings; "" where it can't be read."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return ""
    starts = np.cumsum([0, *map(len, text.splitlines(keepends=True))]).tolist()
    kept, at, fresh = [], 0, True
    for token in tokens:
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and fresh):
            begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
            kept.append(text[at:begin])
            at = end
        fresh = token.type in _FRESH or (fresh and token.type == tokenize.NL)
    return re.sub(r"\n[ \t]*(?=\n)", "", "".join([*kept, text[at:]]))


def _parses(text: str) -> bool:
    """Whether a text is Python that does something: names alone are words ("登录", "not found")."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(each, ast.Expr) or isinstance(each.value, ast.Call) for each in statements)


def weights_of(counts: Counter[str], total: float) -> tuple[list[str], NDArray[np.float64]]:
    """The words and their weights, which sum to `total`: the root of how often each occurs, so that rare ones count."""
    words = sorted(counts)
    roots = np.sqrt([counts[word] for word in words])
    return words, np.asarray(total * roots / max(1.0, roots.sum()), np.float64)
