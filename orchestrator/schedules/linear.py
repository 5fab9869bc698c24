"""Weights that move evenly from one value to another."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.schedules._base import LossHistory, Schedule, Weight


@dataclass(frozen=True)
class Linear(Schedule):
    """alpha = start + (end − start) · step / (steps − 1), beta = 1 − alpha.

    The default begins with the teacher's distribution and ends with the targets (annealing, arXiv:2104.07163).
    """

    start: Weight = 0.0
    """Alpha of the first step."""
    end: Weight = 1.0
    """Alpha of the last."""

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:  # noqa: ARG002
        """(alpha, beta) by the share of the run that is done."""
        done = min(step / max(steps - 1, 1), 1.0)
        alpha = self.start + (self.end - self.start) * done
        return alpha, 1 - alpha
