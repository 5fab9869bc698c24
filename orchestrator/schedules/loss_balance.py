"""Weights under which both losses contribute equally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from orchestrator.schedules._base import LossHistory, Schedule, required


@dataclass(frozen=True)
class LossBalance(Schedule):
    """alpha ∝ 1 / mean(ce), beta ∝ 1 / mean(soft), alpha + beta = 1: then alpha · ce = beta · soft.

    Inverse losses are the weights that uncertainty weighting (Kendall et al., arXiv:1705.07115) settles on: minimising
    L / s + log s over s gives s = L (see arXiv:2408.07985). A soft loss that falls faster than cross-entropy
    is weighted up, so the student keeps following its teacher to the end.
    """

    steps_averaged: Annotated[int, Field(ge=1)] = 20
    """Losses are means over so many of the last steps."""
    least: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Neither weight falls below this, also when one loss nears zero."""

    def window(self, steps: int) -> int:  # noqa: ARG002
        """The steps averaged."""
        return self.steps_averaged

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:  # noqa: ARG002
        """(alpha, beta) from the mean losses so far; 0.5 each at the first step."""
        required(step, self.steps_averaged, history)
        ce, soft = sum(history.ce[-self.steps_averaged :]), sum(history.soft[-self.steps_averaged :])
        alpha = soft / (ce + soft) if ce + soft > 0 else 0.5
        alpha = min(max(alpha, self.least), 1 - self.least)
        return alpha, 1 - alpha
