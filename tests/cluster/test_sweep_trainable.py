"""What runs in a trial's process: without Ray."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts import Store
from orchestrator.cluster.sweep import trainable
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.environment import Environment
from orchestrator.errors import StoppedEarlyError, TrainingError
from orchestrator.pipeline.graph import Step
from orchestrator.resources import allocate
from orchestrator.stages.base import Stage

RECIPES = Path(__file__).resolve().parents[2] / "jobs" / "recipes"


def test_every_validation_is_sent_where_the_scheduler_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(trainable.tune, "report", sent.append)
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "validation_loss": 1.5}, {"step": 4, "validation_loss": 1.0}]
    trainable._Sender("trial-01").metrics("expert-en", [*rows, {"step": 5, "loss": 0.9}])
    assert [(each.get("step"), each.get("validation_loss")) for each in sent] == [(2, 1.5), (4, 1.0), (None, None)]
    assert [row for each in sent for row in each["arguments"][1]] == [*rows, {"step": 5, "loss": 0.9}]
    assert {each["arguments"][0] for each in sent} == {"trial-01-en"}


def test_a_closed_runner_ends_its_training(tmp_path: Path) -> None:
    begun, rows = threading.Event(), 10_000

    class Long(Stage):
        def run(self, inputs: Any, out: Path, env: Environment) -> None:
            for step in range(rows):
                env.log({"step": step})
                begun.set()
                time.sleep(0.001)

    runner = trainable._Here(ResourcesConfig(cpus=1), allocate(ResourcesConfig(), 1, 0))
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(runner.run, Step("expert-en", Long()), {}, tmp_path, tmp_path)
        begun.wait(10)
        runner.close()
        with pytest.raises(StoppedEarlyError):
            training.result(5)
    assert 0 < (tmp_path / "metrics.jsonl").read_text().count("\n") < rows


def test_code_that_changed_under_a_sweep_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES / "smoke.yaml")
    with pytest.raises(TrainingError, match="changed since the sweep began"):
        trainable._plan(recipe, Store(tmp_path), {"expert-en": "0" * 64})
