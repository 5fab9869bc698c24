"""Where what is private in Ray Train has moved, its public interface serves."""

from __future__ import annotations

import subprocess
import sys

import pytest
import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from orchestrator.cluster import lean
from orchestrator.cluster.meeting import Meeting


@pytest.fixture(autouse=True)
def _anew() -> None:
    lean._parts.cache_clear()


@pytest.mark.parametrize("group", ["none", "told", "joined"])
def test_ray_as_it_is_gets_a_lean_trainer(group: lean.Group, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = lean.make_trainer(print, group=group, scaling_config=ScalingConfig())
    assert isinstance(trainer, TorchTrainer) is (group == "joined")
    assert isinstance(trainer.backend_config, Meeting) is (group == "told")
    kinds = {type(callback).__name__ for callback in trainer._create_default_callbacks()}
    assert not kinds & {"DatasetsCallback", "PlacementGroupCleanerCallback"}
    assert capsys.readouterr().out == ""


def test_controllers_ask_for_no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    scaling = ScalingConfig()
    monkeypatch.setattr(DataParallelTrainer, "_initialize_and_run_controller", lambda _, scaling_policy: scaling_policy)
    trainer = lean.make_trainer(print, group="none", scaling_config=scaling)
    used = trainer._initialize_and_run_controller(scaling_policy=FixedScalingPolicy(scaling))
    assert used.scaling_config == scaling
    used.after_controller_start(None)  # starts and asks no actor
    assert type(used.make_decision_for_non_running_worker_group()).__name__ == "ResizeDecision"


def test_another_ray_is_used_by_its_public_interface_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray.train.v2._internal.callbacks", None)
    for _ in range(2):
        trainer = lean.make_trainer(print, group="none", scaling_config=ScalingConfig())
        assert type(trainer) is TorchTrainer
    assert capsys.readouterr().out.count("more processes a training than it needs") == 1
    lean._parts.cache_clear()


def test_workers_that_stand_ready_and_tasks_import_no_ray_train() -> None:
    """It imports pandas, and takes a second of a core at each start."""
    code = "import sys, orchestrator.cluster.stander, orchestrator.cluster.tasks; print('ray.train' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_controller_of_workers_on_cpus_imports_no_torch() -> None:
    """It would before any worker begins to: seconds of each start."""
    trainer = lean.make_trainer(print, group="told", scaling_config=ScalingConfig(num_workers=2))
    given = ray.cloudpickle.dumps(trainer.train_run_context)
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True).stdout == b"False\n"
    )
