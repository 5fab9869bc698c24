"""Ray's errors in the terms of the person who typed the command."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch.distributed

pytest.importorskip("ray")

from ray.exceptions import ActorDiedError, RayTaskError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError

from orchestrator.cluster.errors import PeerLostError, WorkerDiedError, translate
from orchestrator.cluster.sending import sendable
from orchestrator.errors import MomeError, ResourceError, TrainingError


def group(*failures: Exception) -> WorkerGroupError:
    return WorkerGroupError("…", dict(enumerate(failures)))


def user(error: Exception) -> UserExceptionWithTraceback:
    return UserExceptionWithTraceback(error, "Traceback …")


DEATH = WorkerHealthCheckFailedError("A worker health check failed.", ActorDiedError())


def test_a_stages_own_error_comes_first() -> None:
    own = TrainingError("the loss is not finite", "step 3", "less")
    collateral = user(RuntimeError("Connection closed by peer"))
    assert translate(group(collateral, user(own)), "teacher") is own
    assert translate(group(user(own), DEATH), "teacher") is own


def test_a_death_comes_before_what_it_did_to_the_others() -> None:
    error = translate(group(user(RuntimeError("Connection closed by peer")), DEATH), "teacher")
    assert isinstance(error, WorkerDiedError)
    assert isinstance(error, ResourceError)
    assert error.where == "teacher"


@pytest.mark.parametrize(
    "collateral",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:35246: Connection reset by peer"),
        torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error"),
    ],
)
def test_a_lost_peer_is_told_by_the_others_before_its_death_is_known(collateral: RuntimeError) -> None:
    """torch 2.13: gloo has no class for it. Seen where one of two workers was killed under ZeRO 2."""
    error = translate(group(user(collateral)), "teacher")
    assert isinstance(error, PeerLostError)
    assert isinstance(translate(group(user(collateral), DEATH), "teacher"), WorkerDiedError)


def test_workers_that_never_started_are_a_want_of_resources() -> None:
    error = translate(ControllerError(TimeoutError("no room in 900 seconds")), "expert-en")
    assert isinstance(error, ResourceError)
    assert "no room in 900 seconds" in str(error)


def test_a_bug_stays_a_bug() -> None:
    bug = KeyError("x")
    error = translate(group(user(bug)), "teacher")
    assert error is bug
    assert "in stage teacher" in error.__notes__[0]


def test_errors_of_tasks_are_unwrapped_however_deep() -> None:
    own = TrainingError("a", "b", "c")
    inner = RayTaskError("inner", "Traceback …", own)
    assert translate(RayTaskError("outer", "Traceback …", inner), "corpus") is own


class OddError(Exception):
    """Can't be made again from its arguments."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


HOLDS_A_LOCK = ValueError(threading.Lock())


@pytest.mark.parametrize("error", [OddError("this", "that"), SystemExit(0), HOLDS_A_LOCK], ids=["odd", "exit", "lock"])
def test_what_could_not_be_read_elsewhere_is_sent_by_its_words(error: BaseException) -> None:
    with pytest.raises(RuntimeError, match=f"{type(error).__name__}: {error}") as caught, sendable():
        raise error
    assert caught.traceback[-1].path == Path(__file__)


@pytest.mark.parametrize("error", [KeyError("x"), MomeError("a", "b", "c")], ids=["bug", "ours"])
def test_what_can_be_read_elsewhere_is_sent_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, sendable():
        raise error
    assert caught.value is error
