"""What Ray's errors mean: a stage's own error comes back as itself, a killed worker as a want of resources."""

from __future__ import annotations

from collections.abc import Iterable

from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from ray.train import ControllerError, PreemptionError, TrainingFailedError, WorkerGroupError

from orchestrator.errors import MomeError, NodeLeavingError, ResourceError

_NODE_LOST = (NodeDiedError, PreemptionError, TaskUnschedulableError)
_KILLED = (RayActorError, WorkerCrashedError, OutOfMemoryError)
_PEERS = ("DistBackendError", "DistNetworkError", "DistStoreError")
_GLOO = "gloo/transport"
"""In messages of torch's collectives on CPUs, which have no class."""


class WorkerDiedError(ResourceError):
    """A worker process died without an error of its own: killed, most often for want of memory."""


class NodeLostError(WorkerDiedError):
    """Its node was taken away, or is lost."""


class PeerLostError(WorkerDiedError):
    """A worker lost another one in the middle of a collective; why that one is gone is not known yet."""


class NotStartedError(WorkerDiedError):
    """Workers did not start in time: others held what they need, or a node was slow."""


def translate(error: BaseException, step: str) -> BaseException:
    """The error to raise in the place of `error`, which Ray raised for `step`."""
    causes = list(_causes(error))
    if any(isinstance(cause, NodeLeavingError) for cause in causes):
        return NodeLostError("a node of the cluster is taken away", step, "the same command goes on from a checkpoint")
    for cause in causes:
        if isinstance(cause, MomeError):
            return cause
    if any(_is_of_a_lost_node(cause) for cause in causes):
        fix = "the same command goes on from the last checkpoint"
        return NodeLostError("a node of the cluster was lost", step, fix)
    if isinstance(error, RayActorError):  # that of Ray Train's controller, which we called ourselves
        fix = "the same command goes on from the last checkpoint"
        return WorkerDiedError("the process that directs the workers was killed", step, fix)
    if any(isinstance(cause, _KILLED) for cause in causes):
        return WorkerDiedError(
            "a worker process was killed, most likely for want of memory",
            step,
            "the same command goes on from the last checkpoint; fewer slots or a smaller micro_batch need less memory",
        )
    if any(_is_of_a_lost_peer(cause) for cause in causes):
        return PeerLostError("a worker of the training was lost", step, "the same command goes on from a checkpoint")
    if isinstance(error, ControllerError):
        fix = "set resources.slots, resources.workers or resources.cpus lower, or add nodes to the cluster"
        return NotStartedError(f"the training workers could not be started: {error.controller_failure}", step, fix)
    if causes and not isinstance(causes[-1], RayError):
        causes[-1].add_note(f"in stage {step}:\n{error}")  # a bug: keep the worker's traceback
        return causes[-1]
    return error


def _is_of_a_lost_peer(cause: BaseException) -> bool:
    return type(cause).__name__ in _PEERS or (isinstance(cause, RuntimeError) and _GLOO in str(cause))


def _is_of_a_lost_node(cause: BaseException) -> bool:
    return isinstance(cause, _NODE_LOST) or getattr(cause, "preempted", False) is True


def _causes(error: BaseException) -> Iterable[BaseException]:
    """The errors wrapped in one of Ray's, the workers' in the order of their ranks."""
    if isinstance(error, WorkerGroupError):
        for _, failure in sorted(error.worker_failures.items()):
            yield from _causes(failure)
    elif isinstance(error, RayTaskError):
        yield from _causes(error.cause) if isinstance(error.cause, BaseException) else (error,)
    elif not isinstance(error, TrainingFailedError):
        # Ray Train wraps a worker's own exception, and what it learned of a worker's death, without naming a cause.
        inner = getattr(error, "_base_exc", None) or getattr(error, "health_check_failure", None)
        yield from _causes(inner) if isinstance(inner, BaseException) else (error,)
