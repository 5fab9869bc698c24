"""Who may train on a cluster that several runs share: whole gangs of workers, by priority and then by arrival.

Arithmetic only; :mod:`orchestrator.cluster.room` is how runs ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Node = tuple[float, float]
"""CPUs and GPUs of a node."""

PATIENCE = 30.0
"""Seconds after which who does not ask again is taken to be dead: its driver was killed."""
AGE = 1800.0
"""Seconds of waiting that count as much as a priority that is higher by one: nobody waits for ever."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Wish:
    """What a training takes: all of its workers at once, or nothing.

    Attributes:
        run: whose it is.
        workers: how many.
        cpus, gpus: of each; may be fractions.
        priority: higher ones go first.
    """

    run: str
    workers: int
    cpus: float
    gpus: float
    priority: int = 0


@dataclass
class _Asked:
    wish: Wish
    since: float
    asked: float
    """When it was asked for the last time."""


class Leases:
    """What trainings hold, and which ones wait.

    The first one that waits is passed by nobody, however little others need: a gang of many workers would never find
    so much free at one time.

    Args:
        now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._held: dict[str, _Asked] = {}
        self._waiting: dict[str, _Asked] = {}

    def ask(self, key: str, wish: Wish, nodes: Sequence[Node], *, held: bool = False) -> str:
        """Ask for a lease, or say that one is still needed: every few seconds, or it is lost.

        Args:
            key: of the training, the same every time.
            wish: what it takes.
            nodes: of the cluster, as it is now.
            held: it has a lease already, perhaps of a predecessor of this object.

        Returns:
            "" where it may train; else what it waits for, in words.
        """
        now = self._now()
        self._forget_the_dead(now)
        if held or key in self._held:
            since = self._held[key].since if key in self._held else now
            self._held[key] = _Asked(wish, since, now)
            return ""
        asked = self._waiting.setdefault(key, _Asked(wish, now, now))
        asked.wish, asked.asked = wish, now
        if not self._may_begin(key, nodes, now):
            return self._told(key, now)
        del self._waiting[key]
        self._held[key] = asked
        return ""

    def give_back(self, key: str) -> None:
        """Hold, or wait, no longer."""
        self._held.pop(key, None)
        self._waiting.pop(key, None)

    def wanted(self) -> list[dict[str, float]]:
        """What the workers take of all trainings that hold or wait, a dictionary each; none where nobody waits."""
        self._forget_the_dead(self._now())
        if not self._waiting:
            return []
        wishes = [each.wish for each in (*self._held.values(), *self._waiting.values())]
        shapes = [{"CPU": wish.cpus, "GPU": wish.gpus} for wish in wishes for _ in range(wish.workers)]
        return [{kind: amount for kind, amount in shape.items() if amount} for shape in shapes]

    def _may_begin(self, key: str, nodes: Sequence[Node], now: float) -> bool:
        if not fits(nodes, [self._waiting[key].wish]):
            return True  # more than is there at all: Ray waits for nodes that are added
        taken = [each.wish for each in self._held.values()]
        for name in self._order(now):
            wish = self._waiting[name].wish
            if not fits(nodes, [wish]):
                continue
            taken.append(wish)  # whoever goes before begins as soon as it asks again
            if not fits(nodes, taken):
                return False
            if name == key:
                return True
        return False

    def _order(self, now: float) -> list[str]:
        def early(name: str) -> tuple[float, float]:
            asked = self._waiting[name]
            return -(asked.wish.priority + (now - asked.since) // AGE), asked.since

        return sorted(self._waiting, key=early)

    def _told(self, key: str, now: float) -> str:
        order = self._order(now)
        before = order.index(key)
        runs = sorted({each.wish.run for each in (*self._held.values(), *(self._waiting[n] for n in order[:before]))})
        return f"room beside {', '.join(runs) or 'others'}" + (f", {before} before it" if before else "")

    def _forget_the_dead(self, now: float) -> None:
        for asked in (self._held, self._waiting):
            for key in [key for key, each in asked.items() if now - each.asked > PATIENCE]:
                del asked[key]


def fits(nodes: Sequence[Node], wishes: Iterable[Wish]) -> bool:
    """Whether the workers of all wishes find a place at the same time, each on the first node with room."""
    free = [list(node) for node in nodes]
    for wish in wishes:
        for _ in range(wish.workers):
            for node in free:
                if node[0] + _ROUNDING >= wish.cpus and node[1] + _ROUNDING >= wish.gpus:
                    node[0], node[1] = node[0] - wish.cpus, node[1] - wish.gpus
                    break
            else:
                return False
    return True
