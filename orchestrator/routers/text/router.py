"""The prompt router at run time: text to calibrated language probabilities and rejection, with numpy alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.routers._router import Router, Sequences
from orchestrator.routers.text.calibration import Calibration, signals
from orchestrator.routers.text.linear import scale_of
from orchestrator.routers.text.ngrams import (
    LONGEST,
    ORDERS,
    PAD,
    clip,
    highest,
    ngram_at,
    ngram_buckets,
    ngram_hashes,
    starts_of,
)
from orchestrator.routers.text.vocabulary import Vocabulary
from orchestrator.routers.text.words import WEIGHT, Words, bare, first_words, word_hash, word_hashes

CHUNK_CHARACTERS = 1 << 15
"""Characters that are worked on at once: keeps the arrays of a batch in the processor's cache, and memory bounded."""
_COST = 64
"""What a document counts beside its characters, so that many empty ones make chunks too."""


_ONES = np.ones((1, ORDERS * (LONGEST + len(PAD))), np.float32)
_WORDS = WEIGHT * _ONES
"""They sum the rows of a matrix by a product, which is faster than `sum`."""
_FEATURES = f"1 to {ORDERS} characters, {WEIGHT:g} times each of the first words"
"""What weights are of: those of another release are not for these."""
_SURE = 30.0
"""Largest logit of rejection, so that its exponential is finite."""


class Routing(NamedTuple):
    """Languages: float64 [n, L], rows sum to 1, given that the text is of one of them. rejected: float64 [n]."""

    languages: NDArray[np.float64]
    rejected: NDArray[np.float64]


@dataclass(frozen=True)
class TokenBytes:
    """The bytes behind token ids. data: uint8, one token's after the other. offsets: int64 [V + 1]."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, tokens: Sequence[bytes]) -> TokenBytes:
        """From a tokenizer's table; none for special tokens."""
        return cls(np.frombuffer(b"".join(tokens), np.uint8), np.cumsum([0, *map(len, tokens)]))

    def text(self, ids: ArrayLike) -> str:
        """The text of token ids; unknown ones stand for nothing, bytes that are no character for U+FFFD."""
        table = self._table
        return b"".join([table[i] for i in np.asarray(ids, np.int64).ravel().tolist() if 0 <= i < len(table)]).decode(
            "utf-8", "replace"
        )

    @cached_property
    def _table(self) -> list[bytes]:
        whole, ends = self.data.tobytes(), self.offsets.tolist()
        return [whole[begin:end] for begin, end in pairwise(ends)]


@dataclass(frozen=True)
class TextRouter(Router):
    """A linear model over hashed character n-grams and words, calibrated by length.

    Attributes:
        languages: the labels.
        weights: float32 [2^bits, L + N + 1], of languages, of N classes of text of no language, familiarity of each
            n-gram and word; :func:`~orchestrator.routers.text.linear.exact` ones.
        bias: float32 [L + N + 1].
        calibration: of both probabilities.
        vocabulary: words of the languages.
        tokens: to read token ids.
    """

    reads: ClassVar[str] = "text"
    languages: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    calibration: Calibration
    vocabulary: Vocabulary
    tokens: TokenBytes

    def probabilities(self, sequences: Sequences) -> NDArray[np.float64]:
        """See :class:`Router`."""
        return self.route(self._texts(sequences)).languages

    def rejection(self, sequences: Sequences) -> NDArray[np.float64]:
        """See :class:`Router`."""
        return self.route(self._texts(sequences)).rejected

    def route(self, texts: Sequence[str]) -> Routing:
        """Language probabilities and rejection of each text, alone: the others change nothing.

        Any text is answered: one without a visible character is rejected with certainty, with equal probabilities.
        """
        if len(texts) == 1:
            return self._route_one(clip(texts[0]))
        found = [self._route_many(chunk) for chunk in _chunks(texts)]
        if not found:
            return Routing(np.empty((0, len(self.languages))), np.empty(0))
        return Routing(*(np.concatenate(each) for each in zip(*found, strict=True)))

    def scores(self, texts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """What is calibrated: language scores [n, L], signals of rejection [n, SIGNALS], lengths read [n]."""
        found = [self._scores(chunk) for chunk in _chunks(texts)]
        scores, seen, lengths = (np.concatenate(each) for each in zip(*found, strict=True))
        return scores, seen, lengths

    def _scores(self, texts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        words, lengths = Words.of(texts), np.fromiter(map(len, texts), np.int64, len(texts))
        sums = self._sums(texts, words)
        count, scales = len(self.languages), scale_of(lengths)
        scores = sums[:, :-2] * scales[:, None] + self._bias
        familiar, known = sums[:, -2:] * scales[:, None] ** 2, self.vocabulary.known(words)
        seen = signals(scores[:, :count], scores[:, count:], familiar, known)
        return scores[:, :count], seen, lengths

    def _route_many(self, texts: list[str]) -> Routing:
        scores, seen, lengths = self._scores(texts)
        parameters = self._rejections[scores.argmax(axis=1), lengths]
        logits = scores * self._temperatures[lengths, None]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        logit = (seen * parameters[:, :-1]).sum(axis=1) + parameters[:, -1]
        rejected = 1 / (1 + np.exp(-np.clip(logit, -_SURE, _SURE)))
        blank = [row for row, text in enumerate(texts) if _blank(text)]
        if blank:
            odds[blank], rejected[blank] = 1 / len(self.languages), 1.0
        return Routing(odds, rejected)

    def _route_one(self, text: str) -> Routing:
        """What :meth:`_route_many` does, with numbers of Python after the sums: a prompt waits for this alone."""
        count = len(self.languages)
        if _blank(text):
            return Routing(np.full((1, count), 1 / count), np.ones(1))
        words = word_hashes(text)
        *sums, familiar, unseen = self._sums_alone(text, words)
        scale = 1 / math.sqrt((len(text) + len(PAD)) * ORDERS)
        both = [value * scale + bias for value, bias in zip(sums, self._biases, strict=True)]
        scores, none = both[:count], math.log(sum(map(math.exp, both[count:])))
        best, second = sorted(scores)[-1], sorted(scores)[-2] if count > 1 else 0.0
        inverse_temperature = self._temperatures.item(len(text))
        *slopes, intercept = self._rejections[scores.index(best), len(text)].tolist()
        odds = [math.exp((score - best) * inverse_temperature) for score in scores]
        total = sum(odds)
        seen = (none, best, best - second, familiar * scale**2, unseen * scale**2, self.vocabulary.known_alone(words))
        logit = sum(a * b for a, b in zip(slopes, seen, strict=True)) + intercept
        rejected = 1 / (1 + math.exp(-min(max(logit, -_SURE), _SURE)))
        return Routing(np.array([[odd / total for odd in odds]]), np.array([rejected]))

    def _sums(self, texts: list[str], words: Words) -> NDArray[np.float64]:
        """Sums of the weights of all n-grams and words, and how many of the longest n-grams are unseen: [n, L + N + 2].

        One length of n-grams after the other, and words (a text has more positions than words): what is added to stays
        in the processor's cache.
        """
        hashes, starts = ngram_hashes(texts), starts_of(texts)[:-1]
        buckets = highest(hashes, self._bits)
        total = self.weights.take(buckets[0], axis=0)
        for each in buckets[1:]:
            total += self.weights.take(each, axis=0)
        total[words.places(starts)] += WEIGHT * self.weights.take(highest(words.hashes, self._bits), axis=0)
        sums = np.empty((len(texts), total.shape[1] + 1))
        sums[:, :-1] = np.add.reduceat(total, starts, axis=0)
        sums[:, -1] = np.add.reduceat(self.vocabulary.unseen(hashes[-1]), starts, dtype=np.uint16)
        return sums

    def _sums_alone(self, text: str, words: Sequence[int]) -> list[float]:
        """What :meth:`_sums` has for a single text; the same numbers, as all of these sums are exact."""
        hashes = ngram_hashes([text])
        buckets = highest(hashes, self._bits).ravel()
        total = _ONES[:, : buckets.size] @ self.weights.take(buckets, axis=0)
        if words:
            places = self._buckets(words)
            total += _WORDS[:, : places.size] @ self.weights.take(places, axis=0)
        sums: list[float] = total[0].tolist()
        return [*sums, float(np.count_nonzero(self.vocabulary.unseen(hashes[-1])))]

    def _buckets(self, words: Iterable[int]) -> NDArray[np.int32]:
        """Of hashes of words."""
        return highest(np.array([*words], np.uint32), self._bits)

    def reasons(self, text: str, language: str, count: int = 8) -> list[tuple[str, float]]:
        """The n-grams and words that speak most for a language against the mean of the others.

        With their part of its score; words in lower case, between spaces.
        """
        clipped = clip(text)
        orders, _ = ngram_buckets([clipped], self._bits)
        padded = PAD + clipped + PAD
        words = first_words(clipped)
        names = [ngram_at(padded, at, order) for order, some in enumerate(orders, start=1) for at in range(len(some))]
        names += [f" {bare(word)} " for word in words]
        weights = self.weights[np.concatenate([*orders, self._buckets(map(word_hash, words))]), : len(self.languages)]
        weights[len(names) - len(words) :] *= WEIGHT
        own = weights[:, self.languages.index(language)]
        others = (weights.sum(axis=1) - own) / max(1, len(self.languages) - 1)
        parts: dict[str, float] = {}
        scale = float(scale_of(np.array([len(clipped)]))[0])
        for name, value in zip(names, ((own - others) * scale).tolist(), strict=True):
            if name.strip():
                parts[name] = parts.get(name, 0.0) + value
        return sorted(parts.items(), key=lambda part: -part[1])[:count]

    def parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See :class:`Router`; weights are float16 values, so nothing is lost."""
        tensors: dict[str, NDArray[Any]] = {
            "weights": self.weights.astype(np.float16),
            "bias": self.bias,
            "calibration.inverse_temperature": self.calibration.inverse_temperature,
            "calibration.rejection": self.calibration.rejection,
            "vocabulary.words": self.vocabulary.words,
            "vocabulary.ngrams": self.vocabulary.ngrams,
            "tokens.data": self.tokens.data,
            "tokens.offsets": self.tokens.offsets,
        }
        return tensors, {"languages": list(self.languages), "features": _FEATURES}

    @classmethod
    def rebuild(cls, tensors: dict[str, NDArray[Any]], metadata: dict[str, Any]) -> TextRouter:
        """See :class:`Router`."""
        if metadata.get("features") != _FEATURES:
            raise KeyError(f"features {_FEATURES}")
        return cls(
            tuple(metadata["languages"]),
            tensors["weights"].astype(np.float32),
            tensors["bias"],
            Calibration(tensors["calibration.inverse_temperature"], tensors["calibration.rejection"]),
            Vocabulary(tensors["vocabulary.words"], tensors["vocabulary.ngrams"]),
            TokenBytes(tensors["tokens.data"], tensors["tokens.offsets"]),
        )

    def _texts(self, sequences: Sequences) -> list[str]:
        return [self.tokens.text(sequence) for sequence in sequences]

    @cached_property
    def _temperatures(self) -> NDArray[np.float64]:
        return self.calibration.temperatures()

    @cached_property
    def _rejections(self) -> NDArray[np.float64]:
        return self.calibration.rejections()

    @cached_property
    def _bias(self) -> NDArray[np.float64]:
        return self.bias[:-1].astype(np.float64)

    @cached_property
    def _biases(self) -> list[float]:
        biases: list[float] = self._bias.tolist()
        return biases

    @cached_property
    def _bits(self) -> int:
        return len(self.weights).bit_length() - 1


def _blank(text: str) -> bool:
    """Whether a text has no visible character: spaces, control and formatting characters, lone surrogates."""
    return not any(character.isprintable() and character != " " for character in text)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Clipped texts in lists of about CHUNK_CHARACTERS."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text if len(text) <= LONGEST else clip(text))
        size += len(chunk[-1]) + _COST
        if size > CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
