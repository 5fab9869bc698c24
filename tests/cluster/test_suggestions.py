"""Optuna through Ray Tune: it learns from what is finished, and the same results bring the same suggestion."""

from __future__ import annotations

import pytest

from orchestrator.cluster.tuning import suggest
from orchestrator.config.sweep import Search
from orchestrator.sweeps.agenda import Point, changes_of

LR = "experts.training.optimizer.lr"
SEARCH = Search.model_validate(
    {"type": "optuna", "samples": 14, "space": {LR: {"low": 1e-4, "high": 1e-2, "log": True}}, "seed": 1}
)


def test_optuna_learns_and_suggests_the_same_of_the_same() -> None:
    results: list[tuple[Point, float]] = []
    for number in range(14):
        point = suggest(SEARCH, number, results)
        assert point == suggest(SEARCH, number, results)
        results.append((point, abs(point[LR] - 3e-3)))
    assert min(loss for _, loss in results) < 5e-4
    assert results[0][0][LR] == pytest.approx(0.0006824)


def test_choices_may_be_mappings() -> None:
    losses = (None, "reverse_kl", {"type": "reverse_kl", "temperature": 2.0})
    field = "experts.distillation.soft"
    search = Search.model_validate({"type": "optuna", "samples": 9, "space": {field: {"choices": losses}}})
    points = [suggest(search, number, ()) for number in range(9)]
    assert {repr(changes_of(search, point)[field]) for point in points} == set(map(repr, losses))
