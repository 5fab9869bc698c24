"""Rows of a run's metrics: few in long runs, and true to the steps between them."""

from __future__ import annotations

import json

from orchestrator.stages.base import Environment
from orchestrator.training.checkpoints import Progress
from orchestrator.training.metrics import ROWS, Metrics
from orchestrator.training.step import StepResult


def rows(tmp_path, steps: int) -> list[dict]:
    """Of a run that alternates between its losses."""
    env = Environment(work=tmp_path)
    metrics = Metrics(env, steps)
    for step in range(1, steps + 1):
        alpha = float(step % 2)
        result = StepResult(1.0, 1.0, 1.0, 0.0, 0.0, 0.0, alpha, 1 - alpha, 1.0, 8)
        metrics.step(Progress(step=step, tokens=8 * step, training_seconds=step / 10), result, 1e-3)
    return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def test_a_short_run_logs_the_weights_of_every_step(tmp_path):
    found = rows(tmp_path, 10)
    assert [(row["alpha"], row["beta"]) for row in found[:3]] == [(1, 0), (0, 1), (1, 0)]
    assert len(found) == 10


def test_a_long_run_logs_their_means_between_rows(tmp_path):
    found = rows(tmp_path, 4 * ROWS)
    assert len(found) == ROWS
    assert {(row["alpha"], row["beta"]) for row in found} == {(0.5, 0.5)}
    assert {row["tokens_per_second"] for row in found} == {80.0}
