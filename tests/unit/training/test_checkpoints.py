from __future__ import annotations

import errno
import json
import os

import pytest
import torch

from orchestrator.errors import ResourceError, TrainingError
from orchestrator.training import checkpoints as module
from orchestrator.training.checkpoints import Checkpoints, Progress


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", "mine")


def weights(value: float = 0.0) -> dict[str, torch.Tensor]:
    return {"a": torch.full((2, 3), value)}


def names(checkpoints: Checkpoints) -> set[str]:
    return {path.name for path in checkpoints.folder.iterdir()}


def test_gives_back_what_was_saved(checkpoints):
    progress = Progress(step=3, tokens=10, seconds=1.5, history=[[0.1, 0.2]], best_step=2, best_loss=1 / 3)
    checkpoints.save(progress, weights(1.0), {"a/step": torch.tensor(3.0)})
    back, state, optimizer = checkpoints.load(3)
    assert back == progress
    assert torch.equal(state["a"], weights(1.0)["a"])
    assert optimizer["a/step"] == 3.0


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_are_as_readable_as_the_umask_says(checkpoints, mask):
    before = os.umask(mask)
    try:
        checkpoints.save(Progress(step=1), weights(), {})
        checkpoints.save_best(1, weights())
    finally:
        os.umask(before)
    files = [path for path in checkpoints.folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}
    assert len(files) == 5


def test_keeps_the_last_ones_and_the_best_they_refer_to(checkpoints):
    for step in range(1, 6):
        if step in (1, 4):
            checkpoints.save_best(step, weights(step))
        checkpoints.save(Progress(step=step, best_step=4 if step >= 4 else 1), weights(), {})
    assert names(checkpoints) == {"step-4", "step-5", "best-4"}
    assert checkpoints.latest() == 5


def test_the_best_before_stays_until_a_checkpoint_refers_to_the_new_one(checkpoints):
    checkpoints.save_best(1, weights(1))
    checkpoints.save(Progress(step=1, best_step=1), weights(), {})
    checkpoints.save_best(2, weights(2))
    assert names(checkpoints) == {"step-1", "best-1", "best-2"}


def test_a_half_written_one_is_not_seen(checkpoints, monkeypatch):
    checkpoints.save(Progress(step=1), weights(), {})

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_digest", fail)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(Progress(step=2), weights(), {})
    assert checkpoints.latest() == 1


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "gone"])
def test_a_damaged_one_is_named_with_what_to_do(checkpoints, name, damage):
    folder = checkpoints.save(Progress(step=7), weights(), {"a/m": torch.ones(4)})
    path = folder / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-5] if damage == "truncated" else content[:-3] + b"xyz")
    with pytest.raises(TrainingError, match="damaged") as error:
        checkpoints.load(7)
    assert error.value.where == str(folder)
    assert f"delete {folder}" in error.value.fix


@pytest.mark.parametrize("damage", ["changed", "gone", "no state"])
def test_damaged_best_weights_mean_training_from_the_start(checkpoints, damage):
    checkpoints.save_best(2, weights(2.0))
    assert torch.equal(checkpoints.weights("best", 2)["a"], weights(2.0)["a"])
    folder = checkpoints.folder / "best-2"
    path = folder / ("state.json" if damage == "no state" else "weights.safetensors")
    content = path.read_bytes()
    path.unlink()
    if damage == "changed":
        path.write_bytes(content[:-1] + b"x")  # still a file of weights
    with pytest.raises(TrainingError, match="damaged") as error:
        checkpoints.weights("best", 2)
    assert error.value.where == str(folder)
    assert error.value.fix == f"delete {checkpoints.folder} to train from the start"


def test_one_of_another_recipe_is_refused(checkpoints):
    checkpoints.save(Progress(step=1), weights(), {})
    with pytest.raises(TrainingError, match="another recipe") as error:
        Checkpoints(checkpoints.folder, "other").load(1)
    assert "delete" in error.value.fix


def test_a_full_disk_is_a_resource_error_and_leaves_the_last_checkpoint(checkpoints, monkeypatch):
    checkpoints.save(Progress(step=1), weights(), {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(ResourceError, match="no space"):
        checkpoints.save(Progress(step=2), weights(), {})
    assert checkpoints.latest() == 1


def test_nothing_in_it_is_a_pickle(checkpoints):
    folder = checkpoints.save(Progress(step=1), weights(), {"a/m": torch.ones(2)})
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads((folder / "state.json").read_text())["fingerprint"] == "mine"
