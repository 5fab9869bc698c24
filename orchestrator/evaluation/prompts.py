"""How good a prompt router is: by length of the text, on text of its languages and of none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.calibration import bucket_metrics, coverage, outside_metrics, reliability, stacked

Route = Callable[[Sequence[str]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Texts to probabilities of the languages, float64 [n, L], and of rejection, float64 [n]."""


def prompt_metrics(
    route: Route,
    languages: Sequence[str],
    pieces: Mapping[str, Mapping[str, Sequence[str]]],
    outside: Mapping[str, Sequence[str]],
    threshold: float,
) -> dict[str, Any]:
    """Measure a router.

    Args:
        route: the router. languages: its labels, in order.
        pieces: language -> length ("2 words") -> pieces.
        outside: kind -> texts that are of none of the languages.
        threshold: of rejection.

    Returns:
        "buckets" (length -> :func:`bucket_metrics`), "reliability" (bins over all lengths), "coverage", "outside" (kind
        -> share rejected), "threshold".
    """
    lengths = list(dict.fromkeys(length for found in pieces.values() for length in found))
    answers = {length: _answers(route, languages, pieces, length) for length in lengths}
    answers = {length: found for length, found in answers.items() if len(found[2])}
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


def _answers(
    route: Route, languages: Sequence[str], pieces: Mapping[str, Mapping[str, Sequence[str]]], length: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    texts = [text for language in languages for text in pieces[language].get(length, ())]
    counts = [len(pieces[language].get(length, ())) for language in languages]
    probabilities, rejected = route(texts)
    return probabilities, rejected, np.repeat(np.arange(len(counts)), counts)
