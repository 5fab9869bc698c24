"""The balanced dataset creator: which documents of each language, by the real tokenizer's counts.

Documents are taken in an order shuffled from the seed, as long as they fit under the target: the number of tokens asked
for, or all that the smallest language has. Where whole documents end too far below it (few, long documents), the next
one is cut at a token boundary to hit it. A document counts with the special tokens around it, as it is packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import CorpusError

DELIMITERS = 2
"""Tokens around a document where a tokenizer has `<s>` and `</s>`, as those that are trained here do."""


@dataclass(frozen=True)
class Selection:
    """Documents of one language and split, in the order they are packed.

    Attributes:
        rows: their places in the corpus, int64 [documents].
        lengths: tokens kept of each, without special ones, int64 [documents]; only the last may be cut.
        cut_from: tokens the last document had before it was cut; None when it is whole.
        delimiters: special tokens around each document.
    """

    rows: np.ndarray
    lengths: np.ndarray
    cut_from: int | None = None
    delimiters: int = DELIMITERS

    @property
    def tokens(self) -> int:
        """Tokens in the packed stream."""
        return packed_tokens(self.lengths, self.delimiters)


def packed_tokens(lengths: np.ndarray, delimiters: int = DELIMITERS) -> int:
    """Tokens that documents of these lengths take in a stream; empty ones are left out."""
    return int(lengths.sum()) + delimiters * int(np.count_nonzero(lengths))


def balance(
    lengths: Mapping[str, np.ndarray],
    split: str,
    seed: int,
    max_diff_percent: float,
    target: int | Mapping[str, int] | None = None,
    *,
    repeat: bool = False,
    delimiters: int = DELIMITERS,
) -> dict[str, Selection]:
    """Choose documents so that the languages' tokens are within `max_diff_percent` of each other.

    Args:
        lengths: language -> tokens of each document of the split, int64 [documents].
        split: name of the split; with the seed and the language's name it fixes the order.
        seed: of the order.
        max_diff_percent: largest difference between two languages, in percent of the larger.
        target: tokens of each language, or of every one; None: as many as the smallest has.
        repeat: whether documents of a language that has less than its target are taken again.
        delimiters: special tokens around each document.

    Raises:
        CorpusError: a language has less than `target` (and the difference allowed).
    """
    available = {language: packed_tokens(each, delimiters) for language, each in lengths.items()}
    if target is None:
        target = min(available.values())
    wanted = target if isinstance(target, Mapping) else dict.fromkeys(lengths, target)
    # All lie between `least` and `target`: no two of one target differ by more than max_diff_percent of the larger.
    least = {language: tokens * (1 - max_diff_percent / 100) for language, tokens in wanted.items()}
    short = [language for language, tokens in available.items() if tokens < least[language] and not (repeat and tokens)]
    if short:
        counts = ", ".join(f"{language} {tokens:,}" for language, tokens in available.items())
        most = min(available.values())
        raise CorpusError(
            f"{', '.join(short)}: fewer than the {wanted[short[0]]:,} {split} tokens asked for (there are: {counts})",
            where="blocks.balance.tokens_per_language",
            fix=f"set blocks.balance.tokens_per_language={most} or less, or give {short[0]} more text",
        )
    rngs = {language: np.random.default_rng([seed, *f"{split}/{language}".encode()]) for language in lengths}
    return {lang: _choose(each, wanted[lang], least[lang], rngs[lang], delimiters) for lang, each in lengths.items()}


def _choose(lengths: np.ndarray, target: int, least: float, rng: np.random.Generator, delimiters: int) -> Selection:
    order = rng.permutation(np.flatnonzero(lengths))
    if (
        target > (total := packed_tokens(lengths, delimiters)) > 0 and least > total
    ):  # again, in an order of its own each time
        again = [rng.permutation(order) for _ in range(int(target // total))]
        order = np.concatenate([order, *again])
    ends = np.cumsum(lengths[order] + delimiters)
    whole = int(np.searchsorted(ends, target, side="right"))
    reached = int(ends[whole - 1]) if whole else 0
    rest = target - reached - delimiters
    if reached >= least or whole == len(order) or rest < 1:
        rows = order[:whole]
        return Selection(rows, lengths[rows], delimiters=delimiters)
    rows = order[: whole + 1]
    kept = lengths[rows]
    kept[-1] = rest
    return Selection(rows, kept, cut_from=int(lengths[rows[-1]]), delimiters=delimiters)
