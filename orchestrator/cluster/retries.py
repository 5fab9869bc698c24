"""Attempts at a training: which deaths cost one of its restarts, and which are nobody's fault."""

from __future__ import annotations

import time

import ray

from orchestrator.cluster.errors import NodeLostError, NotStartedError, PeerLostError, WorkerDiedError
from orchestrator.errors import OutOfMemoryError

_WAITS = 10
"""Starts that came to nothing: each has waited a quarter of an hour for its workers."""

_WORD_SECONDS = 3.0
"""From a worker's loss of another one to Ray's word that a node is gone, at most."""


class Retries:
    """What a training may still meet.

    A worker or a controller that was killed costs one restart. A node that was lost, or taken away, costs none: the
    training goes on elsewhere. Nor does a start for which there was no room. After a want of memory half as many blocks
    are computed at once.

    Args:
        restarts: of the recipe (`resources.max_failures`).

    Attributes:
        micro_batch: most blocks that the next attempt computes at once; None: as the recipe says.
    """

    def __init__(self, restarts: int) -> None:
        self.micro_batch: int | None = None
        self._restarts, self._spent, self._waited = restarts, 0, 0
        self._nodes = _alive()

    def spend(self, cause: BaseException) -> str:
        """What is said of the next attempt: a clause that "from the last checkpoint" can follow.

        Args:
            cause: of the last one's end, in our terms.

        Raises:
            BaseException: `cause`, where another attempt would only meet it again, or costs more than is left.
        """
        if isinstance(cause, PeerLostError):
            self._wait_for_word()
        before, self._nodes = self._nodes, _alive()
        if isinstance(cause, OutOfMemoryError):
            return self._halve(cause)
        if not isinstance(cause, WorkerDiedError):
            raise cause
        if isinstance(cause, NodeLostError) or before - self._nodes:
            lost = cause.what if isinstance(cause, NodeLostError) else "a node of the cluster was lost"
            return f"{lost}; with what is left it goes on"
        if isinstance(cause, NotStartedError) and self._waited < _WAITS:
            self._waited += 1
            return f"{cause.what}; it is started again"
        if isinstance(cause, NotStartedError) or self._spent == self._restarts:
            raise cause
        self._spent += 1
        return f"{cause.what}; restart {self._spent} of {self._restarts}"

    def _wait_for_word(self) -> None:
        """A peer knows at once that a worker is gone; that its node is gone Ray tells moments later."""
        end = time.monotonic() + _WORD_SECONDS
        while not self._nodes - _alive() and time.monotonic() < end:
            time.sleep(_WORD_SECONDS / 10)

    def _halve(self, cause: OutOfMemoryError) -> str:
        if cause.at_once == 1:
            raise cause
        self.micro_batch = cause.at_once // 2
        return f"{cause.what}; with at most {self.micro_batch} at once it goes on"


def _alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
