"""How good a prompt router is: by length of the text, on text of its languages and on text of no language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.calibration import bucket_metrics, coverage, reliability, shares_rejected, stacked
from orchestrator.evaluation.statistics import wilson
from orchestrator.routers import Router, TextRouter
from orchestrator.routers.text.no_language import to_learn, to_test
from orchestrator.routers.text.pieces import Lengths, Pieces
from orchestrator.routers.text.shipped import matched

TEST_PIECES = 2000
"""Test pieces of each language and length; a quarter as many of each kind of text of no language."""
COMPARED_PIECES = 500
"""Of these, those that the paper's classifiers are measured on beside the prompt router."""
TEST_CHARACTERS = 4_000_000
"""Characters of a language's test documents that pieces are cut from, at most."""

Route = Callable[[Sequence[str]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Texts to probabilities of the languages, float64 [n, L], and of rejection, float64 [n]."""
Pieced = Mapping[str, Mapping[str, Sequence[str]]]
"""Language -> length ("2 words") -> pieces."""
Own = Mapping[str, Sequence[str]]
"""Language -> kinds of text that ships that are its own."""


def measure_prompts(
    routers: Mapping[str, Router],
    used: str,
    documents: Callable[[str, int], Sequence[str]],
    encode: Callable[[Sequence[str]], Sequence[Any]],
    own: Own,
    threshold: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Measure the prompt router on pieces of test documents and on text of no language, beside the paper's classifiers.

    Args:
        routers: by classifier; `used` is the prompt router.
        documents: test documents of a language, about so many characters at most.
        encode: texts to the token ids that the paper's classifiers read.
        own: of each language.
        threshold: of rejection.
        rng: of the choice of pieces.

    Returns:
        What :func:`prompt_metrics` does, and "classifiers" {classifier: {length: {accuracy, accuracy_interval}}},
        "learned_outside": the kinds of text that are learned as text of no language, and "shipped": what the languages
        were given of the text that ships (:func:`orchestrator.routers.text.shipped.matched`).
    """
    router = routers[used]
    assert isinstance(router, TextRouter)
    pieces = {
        name: Pieces(documents(name, TEST_CHARACTERS)).cut(Lengths.buckets(TEST_PIECES), rng)
        for name in router.languages
    }
    kinds = [kind for some in own.values() for kind in some]
    found = prompt_metrics(router.route, router.languages, pieces, to_test(kinds, TEST_PIECES // 4, rng), threshold)
    tokens = {
        name: {length: encode(texts[:COMPARED_PIECES]) for length, texts in lengths.items()}
        for name, lengths in pieces.items()
    }
    compared = {
        name: accuracy_by_length(other.probabilities, router.languages, tokens)
        for name, other in routers.items()
        if not isinstance(other, TextRouter)
    }
    learned = sorted(to_learn(kinds, 1, rng))
    return {**found, "classifiers": compared, "learned_outside": learned, "shipped": matched(own)}


def prompt_metrics(
    route: Route,
    languages: Sequence[str],
    pieces: Pieced,
    no_language: Mapping[str, Sequence[str]],
    threshold: float,
) -> dict[str, Any]:
    """Measure a router.

    Args:
        route: the router.
        languages: its labels, in order.
        pieces: of test documents.
        no_language: kind -> texts of no language.
        threshold: of rejection.

    Returns:
        "buckets" (length -> :func:`bucket_metrics`), "reliability" (bins over all lengths), "coverage", "outside" (kind
        -> share rejected), "threshold".
    """
    labelled = _labelled(languages, pieces)
    answers = {length: (*route(texts), labels) for length, (texts, labels) in labelled.items()}
    probabilities, rejected, labels = stacked(list(answers.values()))
    correct = probabilities.argmax(axis=1) == labels
    away = {kind: route(texts)[1] for kind, texts in no_language.items() if texts}
    others = np.concatenate([*away.values(), np.empty(0)])
    return {
        "languages": list(languages),
        "threshold": threshold,
        "buckets": {length: bucket_metrics(*found, threshold) for length, found in answers.items()},
        "reliability": reliability(probabilities.max(axis=1), correct),
        "coverage": coverage(rejected, correct, others),
        "outside": shares_rejected(away, threshold),
    }


def accuracy_by_length(
    probabilities: Callable[[list[Any]], NDArray[np.float64]],
    languages: Sequence[str],
    pieces: Mapping[str, Mapping[str, Sequence[Any]]],
) -> dict[str, dict[str, Any]]:
    """Length -> "accuracy" and its 95 % Wilson "accuracy_interval", of a router that may know no rejection.

    Args:
        probabilities: pieces to float64 [n, L].
        languages: its labels, in order.
        pieces: of test documents, as :data:`Pieced`, in whatever form the router reads: their tokens, say.
    """
    found = {}
    for length, (texts, labels) in _labelled(languages, pieces).items():
        correct = int((probabilities(texts).argmax(axis=1) == labels).sum())
        interval = list(wilson(correct, len(labels), 0.95))
        found[length] = {"accuracy": correct / len(labels), "accuracy_interval": interval}
    return found


def _labelled(
    languages: Sequence[str], pieces: Mapping[str, Mapping[str, Sequence[Any]]]
) -> dict[str, tuple[list[Any], NDArray[np.int64]]]:
    """Length -> pieces of all languages, and their labels, int64 [n]; lengths without any piece are left out."""
    lengths = dict.fromkeys(length for found in pieces.values() for length in found)
    parts = {length: [pieces[language].get(length, ()) for language in languages] for length in lengths}
    return {
        length: ([text for part in some for text in part], np.repeat(np.arange(len(some)), [*map(len, some)]))
        for length, some in parts.items()
        if any(some)
    }
