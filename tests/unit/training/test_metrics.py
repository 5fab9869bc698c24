"""Rows of a run's metrics: few in long runs, and true to all the steps between them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.config.base import PluginSpec, build
from orchestrator.environment import Environment
from orchestrator.models import build_model, head, hidden_states
from orchestrator.teacher import TeacherModel
from orchestrator.teacher.live import Live
from orchestrator.training.checkpoints import Progress
from orchestrator.training.loop import train
from orchestrator.training.metrics import ROWS, Metrics
from orchestrator.training.objective import DistillationObjective
from orchestrator.training.step import StepResult


def result(step: int, loss: float, soft: float | None = None, tokens: int = 8, **figures: Any) -> StepResult:
    """Of a run that alternates between its losses."""
    counts = {} if soft is None else {"soft": figures.pop("counted", tokens)}
    alpha = float(step % 2)
    optional = {"ce_slope": None, "soft_slope": None, "hidden": None, **figures}
    return StepResult(
        loss, loss, soft, **optional, alpha=alpha, beta=1 - alpha, grad_norm=1.0, tokens=tokens, counts=counts
    )


def written(env: Environment) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (env.work / "metrics.jsonl").read_text().splitlines()]


def rows(tmp_path, steps: int) -> list[dict[str, Any]]:
    env = Environment(work=tmp_path)
    metrics = Metrics(env, steps)
    for step in range(1, steps + 1):
        progress = Progress(step=step, tokens=8 * step, training_seconds=step / 10)
        metrics.step(progress, result(step, 1.0 + step % 4, None if step % 2 else 2.0), 1e-3)
    return written(env)


def test_a_short_run_logs_every_step_and_null_where_nothing_was_computed(tmp_path):
    found = rows(tmp_path, 10)
    assert [(row["alpha"], row["beta"], row["soft"]) for row in found[:3]] == [(1, 0, None), (0, 1, 2.0), (1, 0, None)]
    assert len(found) == 10
    assert not {"ce_slope", "soft_slope", "hidden"} & set(found[0])


def test_a_long_run_logs_means_between_rows(tmp_path):
    found = rows(tmp_path, 4 * ROWS)
    assert len(found) == ROWS
    assert {(row["alpha"], row["beta"], row["loss"], row["soft"]) for row in found} == {(0.5, 0.5, 2.5, 2.0)}
    assert {row["tokens_per_second"] for row in found} == {80.0}


def test_means_are_over_the_tokens_that_a_loss_was_computed_for(tmp_path):
    env = Environment(work=tmp_path)
    metrics = Metrics(env, 3 * ROWS)
    metrics.step(Progress(step=1, tokens=8), result(1, 1.0, 4.0, tokens=8, counted=2), 0.1)
    metrics.step(Progress(step=2, tokens=32), result(2, 5.0, 1.0, tokens=24, counted=6, hidden=None), 0.2)
    metrics.step(Progress(step=3, tokens=40), result(3, 3.0, None, tokens=8), 0.3)
    (row,) = written(env)
    assert row["loss"] == row["ce"] == (8 * 1.0 + 24 * 5.0 + 8 * 3.0) / 40
    assert row["soft"] == (2 * 4.0 + 6 * 1.0) / 8
    assert (row["alpha"], row["lr"], row["tokens"]) == (pytest.approx(2 / 3), 0.3, 40)


def test_a_run_that_goes_on_counts_the_steps_before_its_checkpoint_in(tmp_path):
    env, steps = Environment(work=tmp_path), 2 * ROWS
    first = Metrics(env, steps)
    first.step(Progress(step=1, tokens=8), result(1, 1.0), 0.1)
    saved = Progress(step=1, tokens=8, since_row=json.loads(json.dumps(first.state())))
    second = Metrics(env, steps)
    second.rewind(saved)
    second.step(Progress(step=2, tokens=16), result(2, 3.0, 7.0), 0.1)
    (row,) = written(env)
    assert (row["loss"], row["soft"], row["alpha"]) == (2.0, 7.0, 0.5)


def test_no_number_that_json_lacks_is_written(tmp_path):
    env = Environment(work=tmp_path)
    env.log({"step": 1, "loss": float("nan"), "grad_norm": float("inf"), "soft": -float("inf"), "message": "NaN"})
    text = (tmp_path / "metrics.jsonl").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == {"step": 1, "loss": None, "grad_norm": None, "soft": None, "message": "NaN"}


@pytest.mark.parametrize(("per", "expected"), [("step", [True, False] * 2), ("micro_batch", [False] * 4)])
def test_an_alternating_training_never_says_that_its_soft_loss_is_zero(make_task, env, per, expected):
    model = PluginSpec(type="gpt2", layers=1, width=32, heads=2)
    teacher = Live().open(TeacherModel(lambda: build_model(model, 300, 16, 2), hidden_states, head, 300))
    schedule = build("schedules", PluginSpec(type="alternating", per=per))
    objective = DistillationObjective(build("losses", PluginSpec(type="forward_kl")), schedule, teacher)
    train(make_task({"tokens": 16 * 8 * 4}, objective=objective), env)
    found = [row for row in written(env) if "loss" in row]
    assert [row["soft"] is None for row in found] == expected
    assert all(row["soft"] > 1e-4 for row in found if row["soft"] is not None)
    if per == "step":
        assert [row["loss"] for row in found] == pytest.approx(
            [row["ce"] if row["soft"] is None else row["soft"] for row in found]
        )
