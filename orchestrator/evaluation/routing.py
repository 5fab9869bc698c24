"""How good a router is: confusion matrix, accuracy, precision, recall and F1 (paper, Table 3 and Figure 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.statistics import wilson


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
