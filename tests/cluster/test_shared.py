"""Clusters of many nodes and many users, without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ray")

from orchestrator.cluster import runner as room
from orchestrator.cluster.shared import check_shared
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError, StoppedEarlyError
from orchestrator.resources import allocate


def test_a_folder_that_a_node_does_not_see_is_said_with_the_nodes_name(tmp_path: Path) -> None:
    check_shared(tmp_path)
    with pytest.raises(ResourceError, match=f"not there on node {os.uname().nodename}") as caught:
        check_shared(tmp_path / "elsewhere", patience=0.01)
    assert "--runs /FOLDER" in caught.value.fix


def test_a_folder_that_a_node_may_not_write_to_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ResourceError, match="can't be written to on node"):
        check_shared(tmp_path)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What is free of a cluster of 8 CPUs that others use too."""
    free: dict[str, float] = {}
    monkeypatch.setattr(room.ray, "cluster_resources", lambda: {"CPU": 8.0})
    monkeypatch.setattr(room.ray, "available_resources", lambda: free)
    monkeypatch.setattr(room, "is_own_cluster", lambda: False)
    monkeypatch.setattr(room, "_ROOM_SECONDS", 0.001)
    return free


SHARE = allocate(ResourcesConfig(slots=1), 8, 0)


def test_a_training_waits_for_what_others_hold_and_is_not_started_to_time_out(
    free: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        free["CPU"] = float(len(slept))

    monkeypatch.setattr(room.time, "sleep", sleep)
    room.RayRunner(ResourcesConfig())._wait_for_room("teacher", SHARE)
    assert len(slept) == 8
    assert capsys.readouterr().out == "teacher: waiting for 8 CPUs of the cluster, which others hold\n"


def test_what_is_not_there_at_all_is_not_waited_for(free: dict[str, float]) -> None:
    room.RayRunner(ResourcesConfig())._wait_for_room("teacher", allocate(ResourcesConfig(slots=1), 16, 0))


def test_a_training_that_waits_can_be_stopped(free: dict[str, float]) -> None:
    runner = room.RayRunner(ResourcesConfig(), SHARE)
    runner.stop("teacher")
    with pytest.raises(StoppedEarlyError):
        runner._wait_for_room("teacher", SHARE)
