"""When steps begin and end that wait for each other, for slots and for cores: simulated, nothing is run."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Order = Literal["arrival", "path"]
"""Of the queue before the slots: who came first, or whose own seconds and those of all that wait for it are most."""
Takes = Literal["nothing", "slot", "all"]


@dataclass(frozen=True)
class Timed:
    """A step as a schedule sees it.

    Attributes:
        seconds: that it takes by itself, at least 0.
        needs: steps that end before it begins; those that are not in the schedule are there already.
        takes: while it is at work: no slot, one, or all of them.
        busy: cores that it keeps busy while it is at work.
    """

    seconds: float
    needs: tuple[str, ...] = ()
    takes: Takes = "nothing"
    busy: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """When all steps have ended, and when each one begins and ends, in seconds from the beginning."""

    seconds: float
    begins: Mapping[str, float]
    ends: Mapping[str, float]


def makespan(
    steps: Mapping[str, Timed],
    slots: int,
    order: Order = "arrival",
    *,
    ranks: Mapping[str, float] | None = None,
    cores: float = math.inf,
) -> Schedule:
    """The schedule of steps, each of which begins as soon as its inputs are there and it is given its slots.

    The queue is the admission's (:mod:`orchestrator.cluster.admission`): its first one waits for the slots that it
    takes, and nobody passes it. Longer seconds may end sooner where a queue is then in another order (Graham's
    anomalies, doi:10.1137/0117039); no schedule ends before :func:`lower_bound`.

    Args:
        steps: by name, in the order of the plan.
        slots: how many there are, at least 1.
        order: of the queue.
        ranks: by step, in the place of its path: of the queue the highest goes first.
        cores: that there are. Where steps at work would keep more of them busy, all of these are slower, each as much
            as any other one.

    Raises:
        ValueError: steps wait for each other in a circle.
    """
    if ranks is None:
        ranks = longest_paths(steps) if order == "path" else {}
    simulation = _Simulation(steps, slots, ranks, cores)
    simulation.run()
    if len(simulation.begins) < len(steps):
        raise ValueError(f"these wait for each other: {', '.join(sorted(steps.keys() - simulation.begins.keys()))}")
    return Schedule(max(simulation.ends.values(), default=0.0), simulation.begins, simulation.ends)


def pace(busy: float, cores: float) -> float:
    """Share of its own speed that each step reaches beside the others.

    Args:
        busy: cores that all of them would keep busy.
        cores: that there are.
    """
    return min(1.0, cores / busy) if busy else 1.0


def longest_paths(steps: Mapping[str, Timed]) -> dict[str, float]:
    """By step, its seconds and those of the longest chain of steps that wait for it. Steps in a circle are left out."""
    readers, left = _readers(steps), dict.fromkeys(steps, 0)
    for found in readers.values():
        for name in found:
            left[name] += 1
    order = [name for name in steps if not left[name]]
    for name in order:  # grows: each comes after all that it needs
        for reader in readers[name]:
            left[reader] -= 1
            if not left[reader]:
                order.append(reader)
    paths: dict[str, float] = {}
    for name in reversed(order):
        paths[name] = steps[name].seconds + max((paths[reader] for reader in readers[name]), default=0.0)
    return paths


def lower_bound(steps: Mapping[str, Timed], slots: int) -> float:
    """Seconds that no schedule undercuts: of the longest chain of steps, and of all work spread over the slots."""
    work = sum(each.seconds * {"nothing": 0, "slot": 1, "all": slots}[each.takes] for each in steps.values())
    return max(work / slots, max(longest_paths(steps).values(), default=0.0))


@dataclass
class _Simulation:
    """The steps at work, from one end of a step to the next.

    Their own seconds pass for all of them alike, so they end in the order of these, however slow they are meanwhile.
    """

    steps: Mapping[str, Timed]
    slots: int
    ranks: Mapping[str, float]
    cores: float
    begins: dict[str, float] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = {name: place for place, name in enumerate(self.steps)}
        self._rank = {name: (-self.ranks.get(name, 0.0), place) for name, place in places.items()}
        self._needs = {name: len({*each.needs} & self.steps.keys()) for name, each in self.steps.items()}
        self._readers = _readers(self.steps)
        self._queue: list[tuple[float, float, int, str]] = []
        self._at_work: list[tuple[float, int, str]] = []
        self._free, self._own, self._busy = self.slots, 0.0, 0.0

    def run(self) -> None:
        """Until nothing is at work."""
        now = 0.0
        self._arrive(now, [name for name in self.steps if not self._needs[name]])
        while self._at_work:
            own, ended = self._at_work[0][0], []
            now += (own - self._own) / pace(self._busy, self.cores)
            self._own = own
            while self._at_work and self._at_work[0][0] == own:
                ended.append(heapq.heappop(self._at_work)[2])
            self.ends |= dict.fromkeys(ended, now)
            self._free += sum(map(self._taken, ended))
            self._busy -= sum(self.steps[name].busy for name in ended)
            self._arrive(now, self._ready(ended))

    def _ready(self, ended: Sequence[str]) -> list[str]:
        """Steps whose last inputs are these."""
        ready = []
        for name in ended:
            for reader in self._readers[name]:
                self._needs[reader] -= 1
                if not self._needs[reader]:
                    ready.append(reader)
        return ready

    def _arrive(self, now: float, ready: Sequence[str]) -> None:
        """Let those begin that take no slot, and the first ones of the queue."""
        for name in ready:
            if self._taken(name):
                path, place = self._rank[name]
                heapq.heappush(self._queue, (path, now, place, name))
            else:
                self._begin(now, name)
        while self._queue and self._taken(self._queue[0][3]) <= self._free:
            name = heapq.heappop(self._queue)[3]
            self._free -= self._taken(name)
            self._begin(now, name)

    def _begin(self, now: float, name: str) -> None:
        self.begins[name] = now
        self._busy += self.steps[name].busy
        heapq.heappush(self._at_work, (self._own + self.steps[name].seconds, self._rank[name][1], name))

    def _taken(self, name: str) -> int:
        return {"nothing": 0, "slot": 1, "all": self.slots}[self.steps[name].takes]


def _readers(steps: Mapping[str, Timed]) -> dict[str, list[str]]:
    """By step, those that need it, in the order of the plan."""
    readers: dict[str, list[str]] = {name: [] for name in steps}
    for name, each in steps.items():
        for need in dict.fromkeys(each.needs):
            if need in readers:
                readers[need].append(name)
    return readers
