"""The router for what people type: hashed character n-grams and words, from one word up, with rejection."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from orchestrator.errors import CorpusError
from orchestrator.routers._router import Router
from orchestrator.routers.text.accidents import augment
from orchestrator.routers.text.calibration import Calibration, fit_rejection, fit_temperature
from orchestrator.routers.text.letters import common_letters
from orchestrator.routers.text.linear import Examples, exact, softmax_regression
from orchestrator.routers.text.ngrams import clip, highest, ngram_buckets
from orchestrator.routers.text.no_language import buckets, fragments, to_learn
from orchestrator.routers.text.pieces import LanguageTexts, Lengths, Pieces, weights_of
from orchestrator.routers.text.router import TextRouter, TokenBytes
from orchestrator.routers.text.shipped import PROMPT_WORDS, Talk, conversations
from orchestrator.routers.text.tags import own_kinds
from orchestrator.routers.text.units import single_words, words_in
from orchestrator.routers.text.vocabulary import Vocabulary
from orchestrator.routers.text.words import Words

_REPEATS = 50
"""How often the shortest sentences that ship are learned, at most."""
_CODE = 0.5
"""Weight of code beside a language of prose: "not", "is" and messages in strings are English all the same."""
_CODE_WORDS = 0.3
"""Weight of single words of code beside those of prose: who types one word means a word."""
_SENTENCES = 0.5
"""Share of sentences that ship, and of single words of them, beside the pieces: people ask, and corpora seldom do."""
_FOREIGN = 10
"""A word that another language has more than so many times as often is a name in a language's sentences. Were it less,
words that both have ("in", "des") would seem to be of one alone."""
_HELD_OUT_KINDS = 5
"""Every fifth kind of text that ships (a language, a suffix) is kept from the weights, and fits the calibration of
rejection, beside text that is generated."""
_SHARES = {"phrases": 1.0, "code": 0.7, "generated": 0.3}
"""Weights of the classes of text of no language beside a language. They are several, as no single line parts all of it
from the languages."""
_REJECTED = {"phrases": 1.0, "code": 0.05, "generated": 0.5}
"""Weights of pieces of text of no language where rejection is calibrated: there are more languages than ways to write
code, and what looks like Python mostly is."""
_STEP, _FAMILIARITY_STEP = 2.0**-8, 2.0**-6
"""What weights are multiples of: they stay below 8, and logarithms of counts below 32."""
_TEXTS_AT_ONCE = 50_000
_CONVERSATION = 0.07
"""Weight of held-out sentences that ship beside held-out documents in calibration: people write otherwise."""


@dataclass(frozen=True)
class Prompt:
    """Softmax regression over hashed character 1- to 5-grams and words of the corpus cut to all lengths."""

    reads: ClassVar[str] = "corpus"
    classifier: ClassVar[str] = "prompt"
    version: ClassVar[int] = 2  # 1: scripts without spaces were cut at spaces

    bits: Annotated[int, Field(ge=10, le=24)] = 20
    """Logarithm of the number of buckets of n-grams and words."""
    pieces: Annotated[int, Field(ge=100)] = 80_000
    """Training pieces of each language, beside its single words."""
    characters: Annotated[int, Field(ge=1000)] = 12_000_000
    """Text of each language that they are cut from, at most, in characters."""
    calibration_pieces: Annotated[int, Field(ge=50)] = 2_000
    """Held-out pieces of each language and length that probabilities are fitted on."""

    def train(
        self,
        texts: Mapping[str, LanguageTexts],
        tokens: Sequence[bytes],
        seed: int,
        threads: int,  # noqa: ARG002  routers are trained alike
    ) -> dict[str, Router]:
        """Train on documents.

        Args:
            texts: documents by language.
            tokens: the bytes of each token id, so that token sequences can be routed too.
            seed: of everything random.
            threads: not used, one is enough.

        Returns:
            The router by its name, :attr:`classifier`.

        Raises:
            CorpusError: a language without text.
        """
        languages = tuple(texts)
        rng = np.random.default_rng(seed)
        pieces = {language: Pieces(some.train) for language, some in texts.items()}
        for language, some in pieces.items():
            if not some:
                raise CorpusError(f"no training text in {language!r}", "router", "give that language more text")
        own = own_kinds({language: some.is_code for language, some in texts.items()})
        talks = conversations(own)
        inside = self._inside(pieces, talks, rng)
        # The order of what draws from `rng` is part of the result: sentences, generated text, pieces, calibration.
        learned, held_out = _split(to_learn({*chain(*own.values())}, self.pieces * 4, rng))
        each = 4 * self.pieces // len(learned)  # all kinds together: as many pieces as four languages have
        examples = _with_no_language(inside, fragments(learned, each, rng), len(languages))
        classes = len(languages) + len(_SHARES)
        weights, bias = softmax_regression(examples, classes, self.bits, seed)
        familiarity = self._familiarity(inside.texts, examples.words)
        # Familiarity is summed over a text's n-grams as weights are, so it lies beside them as a column without a bias.
        weights = np.column_stack([exact(weights, _STEP), familiarity])
        bias = np.append(bias, 0).astype(np.float32)
        words = chain.from_iterable((*some.train, *talks[name].learned) for name, some in texts.items())
        vocabulary = Vocabulary.of(words, inside.texts)
        router = TextRouter(
            languages, weights, bias, Calibration.none(len(languages)), vocabulary, TokenBytes.of(tokens)
        )
        router = dataclasses.replace(router, calibration=self._calibrate(router, texts, talks, held_out, rng))
        return {self.classifier: router}

    def _inside(self, pieces: Mapping[str, Pieces], talks: Mapping[str, Talk], rng: np.random.Generator) -> Examples:
        """Labelled pieces of the languages: every word by the root of its count, random pieces, known sentences."""
        words = {language: some.words() + Counter(common_letters(some.short)) for language, some in pieces.items()}
        talk = {language: talks[language].learned for language in pieces}
        counts = {name: words[name] + Counter(single_words(" ".join(talk[name]))) for name in pieces}
        names = {
            name: [w for w in sorted(found) if w[:1].isupper() and w[1:].islower()] for name, found in words.items()
        }
        texts: list[str] = []
        weights, labels = [], []
        for label, (language, some) in enumerate(pieces.items()):
            others = [name for name in pieces if name != language and not pieces[name].is_code]
            # All words of a language together weigh as much as two sets of pieces.
            total = 2 * self.pieces * (_CODE_WORDS if some.is_code else 1.0)
            vocabulary, counted = weights_of(words[language], total)
            cut = [piece for found in some.cut(Lengths.training(self.pieces), rng).values() for piece in found]
            cut += some.lines(self.pieces // 2, rng)
            cut += self._conversation(talk[language], counts[language], [counts[name] for name in others], rng)
            foreign = [name for other in others for name in names[other]]
            texts += map(clip, augment([*vocabulary, *cut], rng, prose=not some.is_code, names=foreign))
            weights.append(np.concatenate([counted, np.ones(len(cut))]) * (_CODE if some.is_code else 1.0))
            labels.append(np.full(len(vocabulary) + len(cut), label, np.int64))
        return Examples(texts, np.concatenate(labels), np.concatenate(weights))

    def _conversation(
        self, sentences: Sequence[str], own: Counter[str], others: Sequence[Counter[str]], rng: np.random.Generator
    ) -> list[str]:
        """Pieces of sentences that ship, of all lengths, whole ones, and their words; the short ones often.

        A word that another language has far more often (`own`, `others`: how often) is a name in these sentences.
        """
        if not sentences:
            return []
        share = int(_SENTENCES * self.pieces)
        cut = Pieces(["\n".join(sentences)]).cut(Lengths.training(share), rng)
        whole = [sentences[i] for i in rng.integers(len(sentences), size=share // 3)]
        words = [
            word
            for word in single_words(" ".join(sentences))
            if all(some[word] <= _FOREIGN * own[word] for some in others)
        ]
        if len(words) > 4 * share:  # beside few pieces they would be nearly all that is learned
            words = [words[i] for i in rng.integers(len(words), size=4 * share)]
        short = [text for text in sentences if len(words_in(text)) <= PROMPT_WORDS]
        short += [text[:1].upper() + text[1:] for text in short]  # as a keyboard of a phone writes them
        return [
            *(piece for some in cut.values() for piece in some),
            *whole,
            *words,
            *short * min(_REPEATS, share // max(1, len(short))),
        ]

    def _familiarity(self, texts: Sequence[str], words: Words) -> NDArray[np.float32]:
        """How often each bucket's n-grams and words occur in the training pieces, as a logarithm: float32 [2^bits].

        Args:
            texts: the pieces.
            words: theirs, first of all.
        """
        own = words.hashes[: words.counts[: len(texts)].sum()]
        counts = np.bincount(highest(own, self.bits), minlength=1 << self.bits)
        for begin in range(0, len(texts), _TEXTS_AT_ONCE):
            for found in ngram_buckets(texts[begin : begin + _TEXTS_AT_ONCE], self.bits)[0]:
                counts += np.bincount(found, minlength=1 << self.bits)
        return exact(np.log1p(counts), _FAMILIARITY_STEP)

    def _calibrate(
        self,
        router: TextRouter,
        texts: Mapping[str, LanguageTexts],
        talks: Mapping[str, Talk],
        kinds: Mapping[str, Sequence[str]],
        rng: np.random.Generator,
    ) -> Calibration:
        """Fit both probabilities on held-out documents, held-out sentences, and kinds of text of no language."""
        inside = [
            part
            for label, (name, some) in enumerate(texts.items())
            for part in self._held_out(some, talks[name].held_out, label, rng)
        ]
        held = [piece for part in inside for piece in part.texts]
        # Text of two languages at once is of some language, though of none with certainty: it is not to be rejected.
        pairs = rng.integers(len(held), size=(len(held) // 10, 2))
        mixed = _Part([f"{held[a]} {held[b]}" for a, b in pairs.tolist()], _KNOWN)
        each = max(10, len(held) // len(kinds))  # in all, as many pieces of no language as of the languages
        away = [
            _Part(pieces, _NO_LANGUAGE, _REJECTED[kind.partition("/")[0]])
            for kind, pieces in buckets(kinds, each, rng).items()
        ]
        parts = [*inside, mixed, *away]
        scores, seen, lengths = router.scores([text for part in parts for text in part.texts])
        labels = np.repeat([part.label for part in parts], [len(part.texts) for part in parts])
        weights = np.repeat([part.weight for part in parts], [len(part.texts) for part in parts])
        own = labels >= 0  # pairs and text of no language have no language to be right about
        return Calibration(
            fit_temperature(scores[own], labels[own], lengths[own], weights[own]),
            fit_rejection(seen, labels == _NO_LANGUAGE, lengths, scores.argmax(axis=1), weights, len(texts)),
        )

    def _held_out(
        self, texts: LanguageTexts, sentences: Sequence[str], label: int, rng: np.random.Generator
    ) -> Iterator[_Part]:
        pieces = Pieces(texts.held_out) or Pieces(texts.train)
        found = pieces.cut(Lengths.buckets(self.calibration_pieces), rng)
        cut = [piece for some in found.values() for piece in some]
        yield _Part(cut, label)
        if sentences:
            found = Pieces(["\n".join(sentences)]).cut(Lengths.buckets(self.calibration_pieces // 4), rng)
            talk = [*sentences, *(piece for some in found.values() for piece in some)]
            yield _Part(talk, label, _CONVERSATION * len(cut) / len(talk))


class _Part(NamedTuple):
    """Texts that calibration learns from; their language, or which side of rejection they are on; what each counts."""

    texts: Sequence[str]
    label: int
    weight: float = 1.0


_KNOWN, _NO_LANGUAGE = -1, -2


_Kinds = Mapping[str, Sequence[str]]


def _split(kinds: _Kinds) -> tuple[_Kinds, _Kinds]:
    """Kinds of text of no language to learn from, and to calibrate rejection with; what is generated is in both."""
    # Whole kinds are held out: rejection has to hold for languages that the weights have never met.
    held_out = [kind for kind in kinds if not kind.startswith("generated/")][::_HELD_OUT_KINDS]
    learned = {kind: texts for kind, texts in kinds.items() if kind not in held_out}
    return learned, {k: texts for k, texts in kinds.items() if k in held_out or k.startswith("generated/")}


def _with_no_language(inside: Examples, kinds: _Kinds, languages: int) -> Examples:
    """The examples, and text of no language by kind: each of their classes weighs its share of a language."""
    texts, labels, weights = [*inside.texts], [inside.labels], [inside.weights]
    for label, (name, share) in enumerate(_SHARES.items(), start=languages):
        pieces = [clip(piece) for kind, some in kinds.items() if kind.startswith(name) for piece in some]
        texts += pieces
        labels.append(np.full(len(pieces), label, np.int64))
        weights.append(np.full(len(pieces), share * inside.weights.sum() / languages / max(1, len(pieces))))
    return Examples(texts, np.concatenate(labels), np.concatenate(weights))
