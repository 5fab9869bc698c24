"""Where what is private in Ray Train has moved, its public interface serves."""

from __future__ import annotations

import sys

import pytest
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from orchestrator.cluster import lean


@pytest.fixture(autouse=True)
def _anew() -> None:
    lean._parts.cache_clear()


@pytest.mark.parametrize("process_group", [False, True])
def test_ray_as_it_is_gets_a_lean_trainer(process_group: bool, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = lean.make_trainer(print, process_group=process_group, own_cluster=True, scaling_config=ScalingConfig())
    assert isinstance(trainer, TorchTrainer) is process_group
    kinds = {type(callback).__name__ for callback in trainer._create_default_callbacks()}
    assert not kinds & {"DatasetsCallback", "PlacementGroupCleanerCallback"}
    assert capsys.readouterr().out == ""


def test_another_ray_is_used_by_its_public_interface_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray.train.v2._internal.callbacks", None)
    for _ in range(2):
        trainer = lean.make_trainer(print, process_group=False, own_cluster=True, scaling_config=ScalingConfig())
        assert type(trainer) is TorchTrainer
    assert capsys.readouterr().out.count("more processes a training than it needs") == 1
    lean._parts.cache_clear()
