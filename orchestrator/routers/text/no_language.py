"""Text of no language: what ships of other languages and of other code, and text that is generated.

Rejection is learned from some of it and tested with the rest, which is never learned from. Both are the same on every
machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from orchestrator.routers.text.generated import GENERATORS
from orchestrator.routers.text.ngrams import clip
from orchestrator.routers.text.pieces import Lengths, Pieces
from orchestrator.routers.text.shipped import Texts, learned, tested
from orchestrator.routers.text.tags import CODE, NATURAL, shown
from orchestrator.routers.text.units import single_words

_SIGN = re.compile(r"[_=()\[\]{}<>+*/@#%&|\\\d;:$]|\w\.\w")
_SHORT = 60
"""Pieces of code of fewer characters hold a sign of code: a word of it without any is a word of a language."""
_WHOLE = 256
"""Characters of a whole text that are kept: the longest length that is reported."""


def to_learn(own: Collection[str], characters: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Texts to learn rejection from, by kind ("phrases/it", "code/sql", "generated/numbers").

    Args:
        own: kinds of the recipe's languages, which are left out.
        characters: of each generated kind, about.
        rng: of what is generated.
    """
    found = {kind: list(some) for kind, some in learned().items() if kind not in own}
    return found | generated(characters, rng)


def to_test(own: Collection[str], count: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces to test rejection with, by kind ("seen/it", "seen/.css", "unseen/sk", "unseen/.cmake", "generated/sql").

    Args:
        own: kinds of the recipe's languages, which are left out.
        count: pieces of a kind, at most: none stands there twice.
        rng: of the choice, and of what is generated.
    """
    kinds = by_sight(tested(), own) | generated(40 * count, rng)
    return {kind: list(dict.fromkeys(some)) for kind, some in fragments(kinds, count, rng).items()}


def by_sight(texts: Texts, own: Collection[str]) -> dict[str, list[str]]:
    """Texts by kind as they are reported: whether other text of the kind is learned from, and a dot before code."""
    return {
        f"{'seen' if kind in learned() else 'unseen'}/{shown(kind)}": list(some)
        for kind, some in texts.items()
        if kind not in own
    }


def generated(characters: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Texts of each generator, of so many characters, by kind."""
    found = {}
    for name, make in GENERATORS.items():
        texts: list[str] = []
        size = 0
        while size < characters:
            texts.append(make(rng))
            size += len(texts[-1])
        found[f"generated/{name}"] = texts
    return found


def fragments(kinds: Mapping[str, Sequence[str]], each: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces of every kind, `each`: a third single words, a third of all lengths, and whole texts.

    Of languages also twice as many words, each at most once.
    """
    found = {}
    third = each // 3
    for kind, texts in kinds.items():
        # More are cut than kept: of short texts few are found, and of code some are left out for want of a sign.
        cut = [piece for some in cut_kind(kind, texts, Lengths.training(6 * third), rng).values() for piece in some]
        cut = [cut[i] for i in rng.permutation(len(cut))[:third]]
        cut += cut_kind(kind, texts, Lengths({1: 2 * third}, {}), rng).get("1 word", [])[:third]
        whole = [clip(texts[i])[:_WHOLE] for i in rng.integers(len(texts), size=each - len(cut))]
        words = (
            sorted({word for text in texts for word in single_words(text)}) if kind.startswith(f"{NATURAL}/") else []
        )
        found[kind] = [*cut, *whole, *(words[i] for i in rng.permutation(len(words))[: 2 * each])]
    return found


def buckets(kinds: Mapping[str, Sequence[str]], each: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces of every kind, about `each`, in equal parts of the lengths reported; whole texts where no words are."""
    lengths = Lengths.buckets(max(1, each // 6))  # there are six lengths
    found = {}
    for kind, texts in kinds.items():
        cut = [piece for some in cut_kind(kind, texts, lengths, rng).values() for piece in some]
        found[kind] = cut or [clip(texts[i])[:_WHOLE] for i in rng.integers(len(texts), size=each)]
    return found


def cut_kind(kind: str, texts: Sequence[str], lengths: Lengths, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces by length as :meth:`Pieces.cut` has them; none of texts without words; short ones of code hold a sign."""
    pieces = Pieces(["\n".join(texts)])
    found = pieces.cut(lengths, rng) if pieces else {}
    if not kind.startswith(f"{CODE}/") and "/." not in kind:
        return found
    return {name: [p for p in some if len(p) >= _SHORT or _SIGN.search(p)] for name, some in found.items()}
