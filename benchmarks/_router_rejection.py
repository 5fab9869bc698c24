"""How much text of no language a router rejects where it keeps 95 % of the languages' own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._rows import Row, single
from orchestrator.routers import TextRouter
from orchestrator.routers.text.no_language import cut_kind
from orchestrator.routers.text.pieces import Lengths
from orchestrator.routers.text.words import bare

COVERAGE, REJECTED = 0.95, 0.95
UNSEEN = "unseen/"
"""How kinds begin that nothing was learned of."""
_OWN = "words that a language has"
"""“de”, “programma”, “result:”: with no text around them, nothing tells of which language they are."""


@dataclass(frozen=True)
class NoLanguage:
    """Pieces of no language of one length. kinds: str [n]. own: bool [n], whether one language has all their words."""

    texts: Sequence[str]
    kinds: NDArray[np.str_]
    own: NDArray[np.bool_]

    def selections(self) -> dict[str, NDArray[np.bool_]]:
        """What shares are reported of: bool [n] by name."""
        unseen = np.char.startswith(self.kinds, UNSEEN)
        return {
            "text of no language": np.ones(len(self.texts), np.bool_),
            "of languages and code that are unseen": unseen,
            f"text of no language, without {_OWN}": ~self.own,
            f"of languages and code that are unseen, without {_OWN}": unseen & ~self.own,
        }


def vocabulary(texts: Sequence[str]) -> frozenset[str]:
    """Words of some texts, in lower case and without the marks around them."""
    return frozenset(bare(word) for text in texts for word in text.lower().split())


def cut(
    kinds: Mapping[str, Sequence[str]], each: int, words: Sequence[frozenset[str]], rng: np.random.Generator
) -> dict[str, NoLanguage]:
    """Pieces of every kind by length, `each` of them; `words` are those of each language."""
    found = {kind: cut_kind(kind, texts, Lengths.buckets(each), rng) for kind, texts in kinds.items()}
    lengths = dict.fromkeys(length for some in found.values() for length in some)
    by_length = {length: {kind: some.get(length, []) for kind, some in found.items()} for length in lengths}
    return {length: _no_language(kinds, words) for length, kinds in by_length.items()}


def _no_language(kinds: Mapping[str, Sequence[str]], words: Sequence[frozenset[str]]) -> NoLanguage:
    texts = [text for some in kinds.values() for text in some]
    names = np.repeat(np.array(list(kinds)), [len(some) for some in kinds.values()])
    return NoLanguage(texts, names, np.array([any(vocabulary([text]) <= some for some in words) for text in texts]))


def rejection(
    router: TextRouter, trained: str, inside: Mapping[str, Sequence[str]], no_language: Mapping[str, NoLanguage]
) -> Iterator[Row]:
    """Shares rejected: by length, over all lengths with one threshold (as a recipe has it), and by kind.

    Args:
        router: trained on `trained`.
        inside: pieces of the languages by length.
        no_language: of no language, by length.
    """
    kept = {length: router.route(texts)[1] for length, texts in inside.items() if length in no_language}
    found = {length: router.route(no_language[length].texts)[1] for length in kept}
    away = {length: found[length] > np.quantile(kept[length], COVERAGE) for length in kept}
    for length, some in away.items():
        yield from _rows(f"{trained}, {length}", some, no_language[length].selections())
        own = float(no_language[length].own.mean())
        yield single(f"{trained}, {length}, text of no language", _OWN, "", own, 1 - REJECTED)
    whole = NoLanguage(
        [text for length in kept for text in no_language[length].texts],
        np.concatenate([no_language[length].kinds for length in kept]),
        np.concatenate([no_language[length].own for length in kept]),
    )
    threshold = np.quantile(np.concatenate(list(kept.values())), COVERAGE)
    together = np.concatenate(list(found.values())) > threshold
    yield from _rows(f"{trained}, all lengths, one threshold", together, whole.selections())
    each = np.concatenate(list(away.values()))
    yield from _rows(f"{trained}, all lengths", each, {kind: whole.kinds == kind for kind in np.unique(whole.kinds)})


def _rows(case: str, away: NDArray[np.bool_], selections: Mapping[str, NDArray[np.bool_]]) -> Iterator[Row]:
    for name, chosen in selections.items():
        share = float(away[chosen].mean()) if chosen.any() else float("nan")
        yield single(f"{case}, {name} (goal {REJECTED})", "rejected", "", share, REJECTED)
