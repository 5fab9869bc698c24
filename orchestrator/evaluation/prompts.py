"""How good a prompt router is: by length of the text, on text of its languages and of none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.calibration import bucket_metrics, coverage, outside_metrics, reliability, stacked
from orchestrator.evaluation.statistics import wilson

Route = Callable[[Sequence[str]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Texts to probabilities of the languages, float64 [n, L], and of rejection, float64 [n]."""
Pieces = Mapping[str, Mapping[str, Sequence[str]]]
"""Language -> length ("2 words") -> pieces."""


def prompt_metrics(
    route: Route,
    languages: Sequence[str],
    pieces: Pieces,
    outside: Mapping[str, Sequence[str]],
    threshold: float,
) -> dict[str, Any]:
    """Measure a router.

    Args:
        route: the router. languages: its labels, in order.
        pieces: of test documents.
        outside: kind -> texts that are of none of the languages.
        threshold: of rejection.

    Returns:
        "buckets" (length -> :func:`bucket_metrics`), "reliability" (bins over all lengths), "coverage", "outside" (kind
        -> share rejected), "threshold".
    """
    labelled = _labelled(languages, pieces)
    answers = {length: (*route(texts), labels) for length, (texts, labels) in labelled.items()}
    probabilities, rejected, labels = stacked(list(answers.values()))
    correct = probabilities.argmax(axis=1) == labels
    away = {kind: route(texts)[1] for kind, texts in outside.items() if texts}
    others = np.concatenate([*away.values(), np.empty(0)])
    return {
        "languages": list(languages),
        "threshold": threshold,
        "buckets": {length: bucket_metrics(*found, threshold) for length, found in answers.items()},
        "reliability": reliability(probabilities.max(axis=1), correct),
        "coverage": coverage(rejected, correct, others),
        "outside": outside_metrics(away, threshold),
    }


def accuracy_by_length(
    probabilities: Callable[[list[Any]], NDArray[np.float64]],
    languages: Sequence[str],
    pieces: Mapping[str, Mapping[str, Sequence[Any]]],
) -> dict[str, dict[str, Any]]:
    """Length -> "accuracy" and its 95 % Wilson "accuracy_interval", of a router that may know no rejection.

    Args:
        probabilities: pieces to float64 [n, L]. languages: its labels, in order.
        pieces: of test documents, as :data:`Pieces`, in whatever form the router reads: their tokens, say.
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
