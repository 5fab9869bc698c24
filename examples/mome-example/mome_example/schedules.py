"""A schedule of the loss weights."""

import math
from dataclasses import dataclass

from orchestrator.schedules import LossHistory, Schedule


@dataclass(frozen=True)
class HalfCosine(Schedule):
    """alpha rises from 0 to `end` along half a cosine, beta = 1 − alpha: slowly at first and at last."""

    end: float = 1.0
    """Alpha of the last step, in [0, 1]."""

    def __post_init__(self) -> None:
        if not 0 <= self.end <= 1:
            raise ValueError("end is a weight in [0, 1]")

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:
        """(alpha, beta) by the share of the run that is done."""
        done = min(step / max(steps - 1, 1), 1.0)
        alpha = self.end * (1 - math.cos(math.pi * done)) / 2
        return alpha, 1 - alpha
