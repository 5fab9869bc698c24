"""How good a router is: confusion matrix, accuracy, precision, recall and F1 (paper, Table 3 and Figure 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.statistics import wilson
from orchestrator.routers import Router

SHORT_LENGTHS = (16, 64)
"""Tokens of the cut test sequences, besides whole blocks: prompts are shorter than what the paper measures."""
_HEADLINE = ("accuracy", "precision", "recall", "f1")


def block_metrics(routers: Mapping[str, Router], blocks: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
    """Measure every router on whole test blocks, and on their first SHORT_LENGTHS tokens.

    Args:
        routers: by classifier.
        blocks: test blocks of each language, int64 [n, context], in the routers' order.

    Returns:
        {"languages", "averaging": "macro", "confidence", "table3_router": {classifier: {accuracy, precision, recall,
        f1}}, "classifiers": {classifier: {metrics…, "lengths": {"16": metrics, "64": metrics}}}}; for the metrics see
        :func:`routing_metrics`.
    """
    context = next(iter(blocks.values())).shape[1]
    short = [tokens for tokens in SHORT_LENGTHS if tokens < context]
    found = {
        name: _score(router, blocks, context)
        | {"lengths": {str(tokens): _score(router, blocks, tokens) for tokens in short}}
        for name, router in routers.items()
    }
    return {
        "languages": list(blocks),
        "averaging": "macro",
        "confidence": 0.95,
        "table3_router": {name: {key: metrics[key] for key in _HEADLINE} for name, metrics in found.items()},
        "classifiers": found,
    }


def _score(router: Router, blocks: Mapping[str, NDArray[np.int64]], tokens: int) -> dict[str, Any]:
    """Metrics on the first `tokens` of every test block."""
    truth = np.repeat(np.arange(len(blocks)), [len(rows) for rows in blocks.values()])
    predicted = np.concatenate([router.probabilities(rows[:, :tokens]) for rows in blocks.values()]).argmax(axis=1)
    return routing_metrics(confusion_matrix(truth, predicted, len(blocks)), tuple(blocks))


def confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: int) -> NDArray[np.int64]:
    """int64 [labels, labels]: how often each true label (row) was predicted as each label (column)."""
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels).astype(np.int64)


def routing_metrics(confusion: NDArray[np.int64], languages: Sequence[str], confidence: float = 0.95) -> dict[str, Any]:
    """Metrics of one confusion matrix.

    Returns:
        accuracy and accuracy_interval (Wilson); precision, recall and f1 as macro averages (the plain mean over the
        languages), and weighted by each language's share under "weighted"; the same by language under "languages", with
        its number of sequences; "count", "correct" and "confusion" (rows: truth). A share of nothing counts as 0.
    """
    count, hits = int(confusion.sum()), np.diag(confusion)
    support = confusion.sum(axis=1)
    precision, recall = _share(hits, confusion.sum(axis=0)), _share(hits, support)
    f1 = _share(2 * precision * recall, precision + recall)
    named = {"precision": precision, "recall": recall, "f1": f1}
    return {
        "accuracy": float(_share(hits.sum(), np.asarray(count))),
        "accuracy_interval": list(wilson(int(hits.sum()), count, confidence)),
        **{name: float(values.mean()) for name, values in named.items()},
        "weighted": {
            name: float(_share((values * support).sum(), np.asarray(count))) for name, values in named.items()
        },
        "languages": {
            language: {**{name: float(values[i]) for name, values in named.items()}, "count": int(support[i])}
            for i, language in enumerate(languages)
        },
        "count": count,
        "correct": int(hits.sum()),
        "confusion": confusion.tolist(),
    }


def _share(part: Any, whole: Any) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0), np.float64)
