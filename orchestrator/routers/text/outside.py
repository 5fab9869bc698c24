"""Text of no expert to learn rejection from: what ships of other languages and of other code, and generated text.

So a router is the same on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from orchestrator.routers.text.generated import GENERATORS
from orchestrator.routers.text.ngrams import clip
from orchestrator.routers.text.pieces import Lengths, Pieces
from orchestrator.routers.text.shipped import code, phrases

_SIGN = re.compile(r"[_=()\[\]{}<>+*/@#%&|\\\d;:$]|\w\.\w")
_SHORT = 60
"""Pieces of code that are shorter hold a sign of code: a word of it without any is a word of a language."""
_WHOLE = 256


def outside(languages: Collection[str], characters: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Texts to learn rejection from, by kind ("phrases/it", "code/sql", "generated/numbers").

    Args:
        languages: those that have experts; their sentences and their code are left out.
        characters: of each generated kind, about.
        rng: of what is generated.
    """
    found = {f"phrases/{name}": list(some) for name, some in phrases().items() if name not in languages}
    found |= {f"code/{name}": list(some) for name, some in code().items() if name not in languages}
    return found | generated(characters, rng)


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
        cut = [piece for some in cut_outside(kind, texts, Lengths.training(6 * third), rng).values() for piece in some]
        cut = [cut[i] for i in rng.permutation(len(cut))[:third]]
        cut += cut_outside(kind, texts, Lengths({1: 2 * third}, {}), rng).get("1 word", [])[:third]
        whole = [clip(texts[i])[:_WHOLE] for i in rng.integers(len(texts), size=each - len(cut))]
        words = sorted({word for text in texts for word in text.split()}) if kind.startswith("phrases/") else []
        found[kind] = [*cut, *whole, *(words[i] for i in rng.permutation(len(words))[: 2 * each])]
    return found


def buckets(kinds: Mapping[str, Sequence[str]], each: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces of every kind, about `each`, in equal parts of the lengths reported; whole texts where no words are."""
    lengths = Lengths.buckets(max(1, each // 6))
    found = {}
    for kind, texts in kinds.items():
        cut = [piece for some in cut_outside(kind, texts, lengths, rng).values() for piece in some]
        found[kind] = cut or [clip(texts[i])[:_WHOLE] for i in rng.integers(len(texts), size=each)]
    return found


def cut_outside(kind: str, texts: Sequence[str], lengths: Lengths, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces by length as :meth:`Pieces.cut` has them; none of texts without words; short ones of code hold a sign."""
    pieces = Pieces(["\n".join(texts)])
    found = pieces.cut(lengths, rng) if pieces else {}
    if not kind.startswith("code/") and "/." not in kind:
        return found
    return {name: [p for p in some if len(p) >= _SHORT or _SIGN.search(p)] for name, some in found.items()}
