"""Languages of many scripts: near-duplicates found, the prompt router beside public identifiers, bits per byte."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks._catalogues import messages, split
from benchmarks._language_bits import Bits
from benchmarks._router_peers import Identify, prose_peers
from benchmarks._rows import Row, notice, single
from orchestrator.corpus.deduplication import comparable_units, near_duplicates, signature
from orchestrator.routers import TextRouter
from orchestrator.routers.prompt import Prompt
from orchestrator.routers.text.pieces import LanguageTexts, Lengths, Pieces

EVERY = 500
"""Characters of which one is changed in a near-duplicate."""
_DOCUMENT = 2000
_OURS = "ours"
_MESSAGES = {"at most 10 characters": (2, 10), "11 to 20 characters": (11, 20), "21 to 60 characters": (21, 60)}
"""Whole messages by length, as people type: they need no idea of what a word is."""


@dataclass(frozen=True)
class Languages:
    """Messages of catalogues in each language: two thirds train a router, the others test it beside its peers.

    Peers choose among the same languages. A row's baseline is the error of the best peer on that language and length.
    """

    languages: tuple[str, ...] = (
        *("en", "fr", "de", "es", "it", "pl", "tr"),
        *("ru", "ar", "hi", "ja", "zh", "ko", "th"),
    )
    pieces: int = 400
    """To test with, of each language and length, at most."""
    training_pieces: int = 20_000
    documents: int = 120
    """Near-duplicates made of each language."""
    expert_tokens: int = 150_000
    """That an expert of each language is trained on, for its bits per byte."""
    parts: tuple[Literal["duplicates", "router", "bits"], ...] = ("duplicates", "router", "bits")
    """What is measured."""

    def rows(self) -> Iterator[Row]:
        """For each language: near-duplicates; errors by length, of each language and of all; bits per byte."""
        train, test = split(messages(self.languages))
        notice(", ".join(f"{name}: {sum(map(len, some)):,} characters" for name, some in train.items()))
        for language in self.languages if "duplicates" in self.parts else ():
            found = near_duplicates_found(train[language], self.documents)
            yield single(f"{language}: near-duplicates of {self.documents}", "found", "", found, self.documents)
        if "router" in self.parts:
            yield from self._routed(train, test)
        if "bits" in self.parts:
            with tempfile.TemporaryDirectory() as work:
                yield from Bits(train, test, self.expert_tokens, Path(work)).rows()

    def _routed(self, train: Mapping[str, Sequence[str]], test: Mapping[str, Sequence[str]]) -> Iterator[Row]:
        texts = {name: LanguageTexts([*some[1::2], *some[::4]], some[2::4]) for name, some in train.items()}
        plugin = Prompt(pieces=self.training_pieces, calibration_pieces=500)
        router = plugin.train(texts, [bytes([i]) for i in range(256)], seed=17, threads=1)[plugin.classifier]
        assert isinstance(router, TextRouter)
        yield from self._errors(router, pieces_of(test, self.pieces))

    def _errors(self, router: TextRouter, pieces: Mapping[str, Mapping[str, Sequence[str]]]) -> Iterator[Row]:
        for length, by_language in pieces.items():
            found = {language: self._wrong(router, language, texts) for language, texts in by_language.items()}
            for language, errors in found.items():
                case = f"{language}, {length}"
                yield _row(case, len(by_language[language]), errors)
                rejected = router.route(by_language[language]).rejected > 0.5
                yield single(f"{case} (goal 0.1)", "rejected", "", float(rejected.mean()), 0.1)
            means = {name: float(np.mean([each[name] for each in found.values()])) for name in (_OURS, *self._peers)}
            yield _row(f"all, {length}", sum(map(len, by_language.values())), means)

    def _wrong(self, router: TextRouter, language: str, texts: Sequence[str]) -> dict[str, float]:
        """Shares of a language's texts that are given another, by identifier."""
        wrong = {name: np.mean([identify(t) != language for t in texts]) for name, identify in self._peers.items()}
        chosen = np.array(router.languages)[router.route(texts).languages.argmax(axis=1)]
        return {_OURS: float((chosen != language).mean()), **{name: float(share) for name, share in wrong.items()}}

    @cached_property
    def _peers(self) -> dict[str, Identify]:
        return prose_peers(self.languages)


def pieces_of(test: Mapping[str, Sequence[str]], most: int) -> dict[str, dict[str, list[str]]]:
    """Length -> language -> pieces of messages, and whole ones."""
    found: dict[str, dict[str, list[str]]] = {}
    for language, texts in test.items():
        rng = np.random.default_rng(7)
        cut = Pieces(["\n".join(texts)]).cut(Lengths({1: most, 2: most}, {20: most}), rng)
        shuffled = [texts[i] for i in rng.permutation(len(texts))]
        for length, (least, longest) in _MESSAGES.items():
            cut[f"a message of {length}"] = [text for text in shuffled if least <= len(text) <= longest][:most]
        for length, some in cut.items():
            if some:
                found.setdefault(length, {})[language] = some
    return found


def near_duplicates_found(texts: Sequence[str], count: int) -> int:
    """How many of `count` documents are found again after one character in :data:`EVERY` was replaced by another."""
    rng = np.random.default_rng(5)
    documents = []
    for _ in range(count):
        text = ""
        while len(text) < _DOCUMENT:
            text += texts[int(rng.integers(len(texts)))] + "\n"
        documents.append(text)
    letters = sorted({character for text in texts for character in text if character.isalpha()})
    twins = [_changed(text, letters, rng) for text in documents]
    signatures = np.array([signature(comparable_units(text)) for text in [*documents, *twins]])
    removed = near_duplicates(signatures, 0.8)
    return int(removed[count:].sum() - removed[:count].sum())


def _changed(text: str, letters: Sequence[str], rng: np.random.Generator) -> str:
    characters = list(text)
    for place in rng.choice(len(characters), max(1, len(characters) // EVERY), replace=False):
        characters[place] = letters[int(rng.integers(len(letters)))]
    return "".join(characters)


def _row(case: str, count: int, errors: Mapping[str, float]) -> Row:
    """Our error beside that of the best peer; no error counts as half a text, so that ratios exist."""
    peers = {name: error for name, error in errors.items() if name != _OURS}
    best = min(peers, key=lambda name: peers[name]) if peers else "none"
    least, theirs = 0.5 / count, peers.get(best, float("nan"))
    return single(f"{case} (beside {best}, {count} texts)", "error", "", max(errors[_OURS], least), max(theirs, least))
