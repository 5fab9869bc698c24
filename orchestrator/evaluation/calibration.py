"""Whether probabilities can be trusted: reliability, expected calibration error, coverage against error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.statistics import wilson

BINS = 15
COVERAGES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Mean confidence, accuracy and count of the answers in each of BINS equal bins of confidence; empty bins left out.

    Args:
        confidence: float64 [n] in 0..1, of the answer given.
        correct: bool [n].
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {"confidence": float(confidence[own].mean()), "accuracy": float(correct[own].mean()), "count": int(own.sum())}
        for number in range(BINS)
        if (own := bins == number).any()
    ]


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean over answers of |confidence − accuracy| of their bin (arXiv:1706.04599)."""
    rows = reliability(confidence, correct)
    return sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / max(1, len(confidence))


def coverage(
    rejected: NDArray[np.float64], correct: NDArray[np.bool_], no_language: NDArray[np.float64]
) -> list[dict[str, float]]:
    """What is left and what is kept away when texts above a threshold of rejection are refused.

    Args:
        rejected: float64 [n], rejection of texts of the languages.
        correct: bool [n], of their language.
        no_language: float64 [m], rejection of texts of no language.

    Returns:
        For each of COVERAGES: the share kept of the first, the error among those kept, the share of the latter that is
        rejected, and the threshold.
    """
    found = []
    for share in COVERAGES:
        threshold = float(np.quantile(rejected, share)) if len(rejected) else 1.0
        kept = rejected <= threshold
        error = 1 - float(correct[kept].mean()) if kept.any() else 0.0
        away = float((no_language > threshold).mean()) if len(no_language) else 0.0
        found.append(
            {
                "coverage": float(kept.mean()) if len(kept) else 0.0,
                "error": error,
                "outside_rejected": away,
                "threshold": threshold,
            }
        )
    return found


def bucket_metrics(
    probabilities: NDArray[np.float64], rejected: NDArray[np.float64], labels: NDArray[np.int64], threshold: float
) -> dict[str, Any]:
    """Accuracy with its interval, calibration error, share rejected, and the confusion matrix of pieces of one length.

    Args:
        probabilities: float64 [n, L].
        rejected: float64 [n].
        labels: int64 [n].
        threshold: of rejection.
    """
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    size = probabilities.shape[1]
    confidence = probabilities.max(axis=1)
    return {
        "count": len(labels),
        "accuracy": float(correct.mean()),
        "accuracy_interval": list(wilson(int(correct.sum()), len(labels), 0.95)),
        "ece": calibration_error(confidence, correct),
        "rejected": float((rejected > threshold).mean()),
        "confusion": np.bincount(labels * size + predicted, minlength=size * size).reshape(size, size).tolist(),
    }


def shares_rejected(rejected: Mapping[str, NDArray[np.float64]], threshold: float) -> dict[str, dict[str, float]]:
    """Share rejected of each kind of text of no language."""
    return {kind: {"count": len(some), "rejected": float((some > threshold).mean())} for kind, some in rejected.items()}


def stacked(parts: Sequence[tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
    """The arrays of several batches, one after the other."""
    return tuple(np.concatenate(each) for each in zip(*parts, strict=True))
