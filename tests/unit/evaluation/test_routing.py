from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from orchestrator.evaluation.routing import confusion_matrix, routing_metrics

LANGUAGES = ("en", "fr", "de")


def test_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
    predicted = np.where(rng.random(300) < 0.8, truth, rng.integers(0, 3, 300))
    confusion = confusion_matrix(truth, predicted, 3)
    assert confusion.tolist() == reference.confusion_matrix(truth, predicted).tolist()
    found = routing_metrics(confusion, LANGUAGES)
    names = ("precision", "recall", "f1")
    macro = reference.precision_recall_fscore_support(truth, predicted, average="macro")
    weighted = reference.precision_recall_fscore_support(truth, predicted, average="weighted")
    by_label = reference.precision_recall_fscore_support(truth, predicted)
    assert [found[name] for name in names] == pytest.approx(macro[:3])
    assert [found["weighted"][name] for name in names] == pytest.approx(weighted[:3])
    for i, language in enumerate(LANGUAGES):
        entry = found["languages"][language]
        assert [entry[name] for name in names] == pytest.approx([values[i] for values in by_label[:3]])
        assert entry["count"] == by_label[3][i]
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert found["accuracy_interval"][0] < found["accuracy"] < found["accuracy_interval"][1]
    assert (found["count"], found["correct"]) == (300, int((truth == predicted).sum()))


def test_a_language_never_predicted_counts_as_zero() -> None:
    found = routing_metrics(confusion_matrix(np.array([0, 1, 2]), np.array([0, 0, 0]), 3), LANGUAGES)
    assert found["languages"]["fr"] == {"precision": 0, "recall": 0, "f1": 0, "count": 1}
    assert found["precision"] == pytest.approx(1 / 9)


def test_nothing_counted() -> None:
    found = routing_metrics(np.zeros((3, 3), np.int64), LANGUAGES)
    assert (found["accuracy"], found["accuracy_interval"], found["f1"]) == (0, [0, 1], 0)
