"""Which natural language a text is in, of all of which text ships: naive Bayes over character n-grams.

The router of a run knows the run's languages and text of none; this knows the hundred others by their names. It learns
in a second from the text that ships, so that nothing is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers.text.ngrams import PAD, highest, ngram_hashes, starts_of
from orchestrator.routers.text.shipped import Texts, learned, tested
from orchestrator.routers.text.tags import NATURAL

BITS = 17
"""Logarithm of the number of buckets of n-grams."""
_SHARE = 0.5
"""Weight of all languages together in how often an n-gram is expected in one of them (Jelinek and Mercer, 1980): what a
language has not shown in little text is no proof against it."""
_SPANS, _SPAN = 8, 256
"""Of a long text, and the characters of one."""
_SECOND_SCRIPT = 0.1
_BLOCK, _FACTOR = 8, np.uint32(2654435769)
"""Logarithm of the characters of a block, and what its number is multiplied with."""
_TEXTS_AT_ONCE = 200


@dataclass(frozen=True)
class Identifier:
    """Evidence for languages in n-grams.

    Attributes:
        tags: of the languages, in order; a language that is written in two scripts stands there twice.
        evidence: float32 [2^BITS, T], what an n-gram adds to the logarithm of a language's probability; 0 where it is
            not known of that language.
    """

    tags: tuple[str, ...]
    evidence: NDArray[np.float32]

    @classmethod
    def of(cls, texts: Texts) -> Identifier:
        """Learned from texts by kind ("phrases/de"); kinds of code are left out."""
        kinds = sorted(kind for kind in texts if kind.startswith(f"{NATURAL}/"))
        parts = [(kind.partition("/")[2], part) for kind in kinds for part in _by_script(texts[kind])]
        shares = np.stack([_share(part) for _, part in parts], axis=1)
        expected = shares.mean(axis=1, keepdims=True)
        ratios = np.divide(shares, expected, out=np.zeros_like(shares), where=expected > 0)
        evidence = np.log1p(ratios * ((1 - _SHARE) / _SHARE)).astype(np.float32)
        return cls(tuple(tag for tag, _ in parts), evidence)

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Logarithms of the languages' probabilities for each text, a mean over its characters, less a constant.

        Of long texts eight spans are read, from beginning to end.

        Returns:
            float64 [n, T].
        """
        found = np.zeros((len(texts), len(self.tags)))
        for begin in range(0, len(texts), _TEXTS_AT_ONCE):
            read = [_spans(text).lower() for text in texts[begin : begin + _TEXTS_AT_ONCE]]
            starts = starts_of(read)
            total = np.zeros((starts[-1], len(self.tags)), np.float32)
            for buckets in _buckets(read):
                total += self.evidence.take(buckets, axis=0)
            lengths = np.fromiter(map(len, read), np.int64, len(read)) + len(PAD)
            found[begin : begin + len(read)] = np.add.reduceat(total, starts[:-1]) / lengths[:, None]
        return found


@cache
def identifier() -> Identifier:
    """Learned from all text that ships.

    Raises:
        CorpusError: the text is not installed.
    """
    both: dict[str, tuple[str, ...]] = {}
    for texts in (learned(), tested()):
        for kind, some in texts.items():
            both[kind] = (*both.get(kind, ()), *some)
    return Identifier.of(both)


def _spans(text: str) -> str:
    if len(text) <= _SPANS * _SPAN:
        return text
    begins = np.linspace(0, len(text) - _SPAN, _SPANS).astype(int).tolist()
    return " ".join(text[begin : begin + _SPAN] for begin in begins)


def _by_script(texts: Sequence[str]) -> list[list[str]]:
    """Texts in Latin letters apart from others, where a language has a tenth of each: shares are those of a script."""
    latin = [text for text in texts if _is_latin(text)]
    others = [text for text in texts if not _is_latin(text)]
    both = min(len(latin), len(others)) > _SECOND_SCRIPT * len(texts)
    return [latin, others] if both else [[*texts]]


def _is_latin(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(character < "\u0250" for character in letters) > len(letters)


def _share(texts: Iterable[str]) -> NDArray[np.float64]:
    """Shares of the n-grams of a language's text in it: [2^BITS]."""
    counts = np.bincount(_buckets([text.lower() for text in texts]).ravel(), minlength=1 << BITS)
    return np.asarray(counts / counts.sum(), np.float64)


def _buckets(texts: Sequence[str]) -> NDArray[np.int32]:
    """Of the n-grams that begin at each position, and of its character's block: [ORDERS + 1, N].

    Few of all Chinese characters are in the text that ships, but all blocks of 256 are.
    """
    codes = np.frombuffer((PAD + PAD.join(texts) + PAD).encode("utf-32-le", "surrogatepass"), np.uint32)
    hashes = ngram_hashes(texts)
    blocks = ((codes[: hashes.shape[1]] >> _BLOCK) + 1) * _FACTOR
    return highest(np.vstack([hashes, blocks]), BITS)
