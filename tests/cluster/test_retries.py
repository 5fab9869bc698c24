"""Which deaths cost a training one of its restarts."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

from ray.exceptions import ActorDiedError, NodeDiedError, TaskUnschedulableError
from ray.train import ControllerError, WorkerGroupError

from orchestrator.cluster import retries as room
from orchestrator.cluster.errors import NodeLostError, NotStartedError, PeerLostError, WorkerDiedError, translate
from orchestrator.cluster.retries import Retries
from orchestrator.errors import OutOfMemoryError, TrainingError

KILLED = WorkerDiedError("a worker process was killed", "teacher")
NO_ROOM = translate(ControllerError(TimeoutError("no room in 900 seconds")), "teacher")


@pytest.fixture(autouse=True)
def nodes(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the cluster's nodes."""
    nodes = {"a", "b"}
    monkeypatch.setattr(room.ray, "nodes", lambda: [{"NodeID": name, "Alive": name in nodes} for name in "ab"])
    return nodes


def test_a_killed_worker_costs_a_restart_until_none_is_left() -> None:
    retries = Retries(2)
    assert [retries.spend(KILLED), retries.spend(KILLED)] == [f"{KILLED.what}; restart {n} of 2" for n in (1, 2)]
    with pytest.raises(WorkerDiedError) as caught:
        retries.spend(KILLED)
    assert caught.value is KILLED


def test_a_lost_node_costs_none_whatever_the_error_is_called(nodes: set[str]) -> None:
    retries = Retries(0)
    nodes.remove("b")
    assert "a node of the cluster was lost" in retries.spend(KILLED)
    for error in (NodeDiedError("…"), TaskUnschedulableError("its node is not there any more")):
        lost = translate(error, "teacher")
        assert isinstance(lost, NodeLostError)
        assert retries.spend(lost) == "a node of the cluster was lost; with what is left it goes on"
    with pytest.raises(WorkerDiedError):
        retries.spend(KILLED)


def test_a_peer_that_is_lost_with_its_node_costs_none_though_ray_says_so_later(
    nodes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    retries = Retries(0)
    monkeypatch.setattr(room.time, "sleep", lambda seconds: nodes.discard("b"))
    assert "a node of the cluster was lost" in retries.spend(PeerLostError("a worker was lost", "teacher"))
    monkeypatch.setattr(room, "_WORD_SECONDS", 0.0)
    with pytest.raises(PeerLostError):
        retries.spend(PeerLostError("a worker was lost", "teacher"))


def test_no_room_costs_none_and_ends_some_time() -> None:
    retries = Retries(0)
    assert isinstance(NO_ROOM, NotStartedError)
    for _ in range(10):
        assert "; it is started again" in retries.spend(NO_ROOM)
    with pytest.raises(NotStartedError, match="no room in 900 seconds"):
        retries.spend(NO_ROOM)


def test_a_stages_own_error_ends_it_at_once() -> None:
    own = TrainingError("the loss is not finite", "step 3", "less")
    with pytest.raises(TrainingError) as caught:
        Retries(9).spend(own)
    assert caught.value is own


def test_a_controller_that_was_killed_is_said() -> None:
    error = translate(ActorDiedError(), "teacher")
    assert isinstance(error, WorkerDiedError)
    assert "directs the workers" in error.what
    worker = translate(WorkerGroupError("…", {0: ActorDiedError()}), "teacher")
    assert "a worker process was killed" in str(worker)


def test_a_want_of_memory_costs_none_and_halves_what_is_computed_at_once() -> None:
    retries, sizes = Retries(0), []
    for at_once in (12, 6, 3):
        told = retries.spend(OutOfMemoryError("too little memory", "", "", at_once))
        sizes.append(retries.micro_batch)
        assert told == f"too little memory; with at most {retries.micro_batch} at once it goes on"
    assert sizes == [6, 3, 1]
    with pytest.raises(OutOfMemoryError):
        retries.spend(OutOfMemoryError("too little memory", "", "", 1))
