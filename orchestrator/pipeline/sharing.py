"""Cores that steps share: how long a step would have taken by itself, from when all of them began and ended."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.schedule import pace
from orchestrator.resources import Allocation


@dataclass(frozen=True)
class Span:
    """When something was at work, in seconds of one clock, and how many cores it kept busy meanwhile."""

    begin: float
    end: float
    busy: float


class Own:
    """The clock of a machine whose cores are shared: it is slower while more would be busy than there are.

    The inverse of :func:`orchestrator.pipeline.schedule.makespan` with cores.

    Args:
        spans: all that was at work.
        cores: that there are.
    """

    def __init__(self, spans: Sequence[Span], cores: float) -> None:
        changes: dict[float, float] = {}
        for span in spans:
            changes[span.begin] = changes.get(span.begin, 0.0) + span.busy
            changes[span.end] = changes.get(span.end, 0.0) - span.busy
        self._times, self._own, self._paces = sorted(changes), [0.0], list[float]()
        busy = 0.0
        for now, then in pairwise(self._times):
            busy += changes[now]
            self._paces.append(pace(busy, cores))
            self._own.append(self._own[-1] + (then - now) * self._paces[-1])

    def seconds(self, begin: float, end: float) -> float:
        """That something would have taken by itself which was at work from `begin` to `end`."""
        return self._at(end) - self._at(begin)

    def _at(self, time: float) -> float:
        place = bisect.bisect_right(self._times, time) - 1
        if place < 0:  # before anything was at work
            return time - self._times[0] if self._times else time
        past = time - self._times[place]
        return self._own[place] + past * (self._paces[place] if place < len(self._paces) else 1.0)


def busy_cores(step: Step, each: Allocation, alone: Allocation) -> float:
    """Cores that a step keeps busy, about.

    Args:
        step: at work.
        each: what trainings are given. alone: what one is given beside which no other runs.
    """
    share = alone if step.alone else each
    if share.device != "cpu" or not (step.stage.distributed or step.stage.accelerated):
        return 1.0
    return float(share.threads * (share.workers if step.stage.distributed else 1))


def standing(trainings: Sequence[Step], each: Allocation) -> int:
    """Workers that a run on this machine has stand ready from its beginning (:mod:`orchestrator.cluster.standing`).

    Args:
        trainings: that it has to do.
        each: what they are given.
    """
    if not trainings or (each.workers, each.device, each.strategy.type) != (1, "cpu", "single"):
        return 0
    return 1 if all(step.alone for step in trainings) else min(each.slots, len(trainings))
