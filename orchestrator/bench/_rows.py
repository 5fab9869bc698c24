"""What a bench yields, and how medians are compared."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure beside its baseline; the ratio is ours / baseline, each the median of its repeats.

    Attributes:
        case: what was measured. metric, unit: for example "speed", "tokens/s". ours, baseline: medians.
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
    return Row(case, metric, unit, middle, statistics.median(baseline), (max(ours) - min(ours)) / middle)
