"""What runs in a trial's process: without Ray."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.artifacts import Store
from orchestrator.cluster.sweep import trainable
from orchestrator.config.loading import load_recipe
from orchestrator.errors import MomeError, ResourceError, TrainingError

RECIPES = Path(__file__).resolve().parents[2] / "jobs" / "recipes"


def raised(action: Any) -> Exception:
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("action", [lambda: torch.empty(2**50), lambda: bytearray(2**62)], ids=["torch", "python"])
def test_want_of_memory_is_called_so(action: Any) -> None:
    error = trainable.explained(raised(action), "trial-01")
    assert isinstance(error, ResourceError)
    assert error.what.startswith("out of memory")
    assert "micro_batch" in error.fix


def test_a_bug_says_where_and_can_be_sent() -> None:
    class Local(Exception):
        """Can't be unpickled elsewhere."""

    def fails() -> None:
        raise Local("odd")

    error = trainable.explained(raised(fails), "trial-01")
    assert (error.what, error.where.split(":")[0]) == ("Local: odd", "trial-01, test_sweep_trainable.py")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    own = MomeError("a", "b", "c")
    assert trainable.explained(own, "trial-01") is own


def test_every_validation_is_sent_where_the_scheduler_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(trainable.tune, "report", sent.append)
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "validation_loss": 1.5}, {"step": 4, "validation_loss": 1.0}]
    trainable._Sender("trial-01").metrics("expert-en", [*rows, {"step": 5, "loss": 0.9}])
    assert [(each.get("step"), each.get("validation_loss")) for each in sent] == [(2, 1.5), (4, 1.0), (None, None)]
    assert [row for each in sent for row in each["arguments"][1]] == [*rows, {"step": 5, "loss": 0.9}]
    assert {each["arguments"][0] for each in sent} == {"trial-01-en"}


def test_a_closed_environment_ends_its_training(tmp_path: Path) -> None:
    closed = threading.Event()
    environment = trainable._Stoppable(work=tmp_path, closed=closed)
    environment.log({"step": 1})
    closed.set()
    with pytest.raises(TrainingError, match="stopped"):
        environment.log({"step": 2})
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1


def test_code_that_changed_under_a_sweep_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES / "smoke.yaml")
    with pytest.raises(TrainingError, match="changed since the sweep began"):
        trainable._plan(recipe, Store(tmp_path), {"expert-en": "0" * 64})
