from __future__ import annotations

import numpy as np
import pytest

from orchestrator.evaluation.calibration import bucket_metrics, calibration_error, coverage, reliability
from orchestrator.evaluation.prompts import prompt_metrics


def test_error_of_known_answers() -> None:
    confidence = np.array([0.9, 0.9, 0.5, 0.5])
    correct = np.array([True, True, True, False])
    assert calibration_error(confidence, correct) == pytest.approx(0.05)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert calibration_error(np.empty(0), np.empty(0, bool)) == 0


def test_bins_hold_every_answer_once() -> None:
    confidence = np.linspace(0, 1, 101)
    rows = reliability(confidence, confidence > 0.5)
    assert sum(row["count"] for row in rows) == 101


def test_calibrated_answers_have_little_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.25, 1, 200_000)
    assert calibration_error(confidence, rng.random(200_000) < confidence) < 0.01


def test_coverage_keeps_what_is_asked_and_drops_the_worst_first() -> None:
    rejected = np.linspace(0, 1, 1000)
    correct = rejected < 0.9
    rows = coverage(rejected, correct, np.array([0.97, 0.99]))
    by_share = {round(row["coverage"], 2): row for row in rows}
    assert by_share[1.0]["error"] == pytest.approx(0.1)
    assert by_share[0.9]["error"] == pytest.approx(0, abs=1e-9)
    assert by_share[0.95]["outside_rejected"] == 1
    assert coverage(np.empty(0), np.empty(0, bool), np.empty(0))[0]["outside_rejected"] == 0


def test_metrics_of_a_router_by_length() -> None:
    def route(texts):
        answers = np.array([[0.9, 0.1] if text == "a" else [0.2, 0.8] for text in texts])
        return answers, np.array([0.99 if text == "?" else 0.1 for text in texts])

    pieces = {"en": {"1 word": ["a", "a"], "2 words": []}, "fr": {"1 word": ["b", "a"], "2 words": []}}
    found = prompt_metrics(route, ("en", "fr"), pieces, {"marks": ["?", "?"], "none": []}, 0.5)
    assert list(found["buckets"]) == ["1 word"]
    assert found["buckets"]["1 word"]["accuracy"] == 0.75
    assert found["buckets"]["1 word"]["confusion"] == [[2, 0], [1, 1]]
    assert found["outside"] == {"marks": {"count": 2, "rejected": 1.0}}
    assert bucket_metrics(np.array([[1.0, 0.0]]), np.array([0.9]), np.array([0]), 0.5)["rejected"] == 1
