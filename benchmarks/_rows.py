"""What a bench yields, and how medians are compared."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure beside its baseline; the ratio is ours / baseline, each the median of its repeats.

    Attributes:
        case: what was measured.
        metric, unit: for example "speed", "tokens/s".
        ours, baseline: medians.
        spread: (largest − smallest) / median of our repeats.
    """

    case: str
    metric: str
    unit: str
    ours: float
    baseline: float
    spread: float

    @property
    def ratio(self) -> float:
        """Ours over the baseline."""
        return self.ours / self.baseline


def compare(case: str, metric: str, unit: str, ours: Sequence[float], baseline: Sequence[float]) -> Row:
    """The row of two series of repeats."""
    middle = statistics.median(ours)
    spread = (max(ours) - min(ours)) / abs(middle) if middle else 0.0
    return Row(case, metric, unit, middle, statistics.median(baseline), spread)


def single(case: str, metric: str, unit: str, ours: float, baseline: float) -> Row:
    """The row of two figures that repeats would not change."""
    return Row(case, metric, unit, ours, baseline, 0.0)


def in_turn(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each action, called in turn so that a busy machine slows all alike; a first call is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(repeats + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def notice(text: str) -> None:
    """Say on standard error what is not measured, and why."""
    print(f"mome bench: {text}", file=sys.stderr, flush=True)
