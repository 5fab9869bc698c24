"""Room for a training on a cluster that several runs share: they all ask one actor, which the first of them starts.

The actor ends with the run that started it. The next run that asks starts another one, and learns within seconds what
the others hold: who holds something says so again and again.

A cluster that grows is told what waits. What waits for our own runs the actor asks for, by Ray's one request for nodes,
which Ray Train's controllers therefore leave alone (:mod:`orchestrator.cluster.lean`). What waits for somebody else's
work is a placement group that waits.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.cluster.leases import Leases, Wish
from orchestrator.cluster.session import is_own_cluster
from orchestrator.cluster.there import cluster_nodes, held_by_others
from orchestrator.errors import StoppedEarlyError
from orchestrator.resources import Allocation

_NAME, _NAMESPACE = "mome-admission", "mome"
_ASK_SECONDS = 1.0
_RENEW_SECONDS = 5.0
_PATIENCE = 30.0

Take = Callable[[Allocation], None]


@contextmanager
def room(name: str, run: str, priority: int, say: Callable[[str], None], stopped: Callable[[], bool]) -> Iterator[Take]:
    """Room for a training, held until the block ends.

    Args:
        name: of the training.
        run: whose it is.
        priority: among the runs of the cluster.
        say: is told once what it waits for.
        stopped: whether it is not to train any more.

    Yields:
        What waits until there is room for the workers of an allocation; called again, it takes that in the place of
        what it had. It raises StoppedEarlyError where the training was stopped meanwhile.
    """
    if is_own_cluster():
        yield _there_are_no_others
        return
    held = _Room(name, run, priority, say, stopped)
    try:
        yield held.take
    finally:
        held.leave()


def _there_are_no_others(share: Allocation) -> None:
    """All of a cluster of our own is this run's."""


class _Room:
    def __init__(
        self, name: str, run: str, priority: int, say: Callable[[str], None], stopped: Callable[[], bool]
    ) -> None:
        self._name, self._run, self._priority, self._say, self._stopped = name, run, priority, say, stopped
        self._key = f"{run}/{name}/{secrets.token_hex(4)}"
        self._wish: Wish | None = None
        self._over = threading.Event()
        self._changing = threading.Lock()  # else what is given back could be asked for once more
        threading.Thread(target=self._renew, name=f"room of {name}", daemon=True).start()

    def take(self, share: Allocation) -> None:
        wish = Wish(self._run, share.workers, share.cpus_per_worker, share.gpus_per_worker, self._priority)
        with self._changing:
            if self._wish is not None:
                self._wish = None
                _call("give_back", self._key)
        self._wait(lambda: _call("ask", self._key, wish))
        with self._changing:
            self._wish = wish
        needed = {"CPU": wish.workers * wish.cpus, "GPU": wish.workers * wish.gpus}
        if lack := held_by_others(needed):  # those that are no runs of ours
            with _waiting_group(wish) as has_room:
                self._wait(lambda: "" if has_room() else lack)

    def leave(self) -> None:
        self._over.set()
        with self._changing, suppress(RayError):
            _call("give_back", self._key)

    def _wait(self, lacking: Callable[[], str]) -> None:
        told = False
        while lack := lacking():
            if self._stopped():
                raise StoppedEarlyError("not needed any more", self._name)
            if not told:
                self._say(f"{self._name}: waiting for {lack}")
            told = True
            time.sleep(_ASK_SECONDS)

    def _renew(self) -> None:
        while not self._over.wait(_RENEW_SECONDS):
            with self._changing, suppress(RayError):
                if self._wish is not None and not self._over.is_set():
                    _call("ask", self._key, self._wish, held=True)


@contextmanager
def _waiting_group(wish: Wish) -> Iterator[Callable[[], bool]]:
    """A placement group for the workers of a wish, until the block ends; yields what says that it has found room."""
    worker = {kind: amount for kind, amount in (("CPU", wish.cpus), ("GPU", wish.gpus)) if amount}
    group = placement_group([worker] * wish.workers)
    try:
        yield lambda: bool(group.wait(_ASK_SECONDS))
    finally:
        remove_placement_group(group)


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
class _Desk:
    """The actor: knows what all runs of a cluster hold. Its methods are those of Leases."""

    def __init__(self) -> None:
        self._leases = Leases()
        self._told: list[dict[str, float]] | None = None  # another desk's last word may still stand
        self._lock = threading.Lock()
        threading.Thread(target=self._look, name="the dead", daemon=True).start()

    def ask(self, key: str, wish: Wish, held: bool = False) -> str:
        with self._lock:
            answer = self._leases.ask(key, wish, cluster_nodes(), held=held)
            self._tell()
            return answer

    def give_back(self, key: str) -> None:
        with self._lock:
            self._leases.give_back(key)
            self._tell()

    def _look(self) -> None:
        """Withdraw what a run that was killed has waited for."""
        while True:
            time.sleep(_RENEW_SECONDS)
            with self._lock:
                self._tell()

    def _tell(self) -> None:
        """Tell the autoscaler what the cluster should have room for, where that has changed."""
        wanted = self._leases.wanted()
        if wanted != self._told:
            with suppress(Exception):  # Ray has no class for it; no reason to let a training wait
                request_resources(bundles=wanted)
                self._told = wanted


_desks: dict[str, Any] = {}
"""By Ray job, its handle of the actor: without one the actor would end at once."""


def _call(method: str, *arguments: Any, **options: Any) -> Any:
    """Ask the actor, which is started where there is none, or where the one there was has just ended.

    Raises:
        RayError: none answers for half a minute.
    """
    job, end = ray.get_runtime_context().get_job_id(), time.monotonic() + _PATIENCE
    while True:
        try:
            if job not in _desks:
                desk: Any = _Desk
                _desks[job] = desk.options(name=_NAME, namespace=_NAMESPACE, get_if_exists=True).remote()
            return ray.get(getattr(_desks[job], method).remote(*arguments, **options))
        except RayError:
            _desks.pop(job, None)
            if time.monotonic() > end:
                raise
            time.sleep(_ASK_SECONDS)
