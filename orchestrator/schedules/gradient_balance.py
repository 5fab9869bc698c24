"""Weights under which both losses pull equally hard."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from orchestrator.schedules._base import LossHistory, Schedule, required


@dataclass(frozen=True)
class GradientBalance(Schedule):
    """alpha ∝ 1 / g(ce), beta ∝ 1 / g(soft), alpha + beta = 1: then the weighted gradients have equal norms.

    g is the root mean square over tokens of a loss's gradient norm at the head's output (the logits), where the two
    losses part. It is GradNorm (Chen et al., arXiv:1711.02257) with equal training rates, solved instead of learned,
    and at the last place that both losses share, as in the adaptive weight of VQGAN (arXiv:2012.09841, equation 7).
    """

    steps_averaged: Annotated[int, Field(ge=1)] = 20
    """Gradients are means over so many of the last steps."""
    least: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Neither weight falls below this, also when one gradient vanishes."""

    slopes: ClassVar[bool] = True

    def window(self, steps: int) -> int:  # noqa: ARG002
        """The steps averaged."""
        return self.steps_averaged

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:  # noqa: ARG002
        """(alpha, beta) from the mean slopes so far; 0.5 each at the first step."""
        required(step, self.steps_averaged, history)
        last = history.last(self.steps_averaged)
        ce, soft = math.sqrt(sum(each.ce_slope for each in last)), math.sqrt(sum(each.soft_slope for each in last))
        alpha = soft / (ce + soft) if ce + soft > 0 else 0.5
        alpha = min(max(alpha, self.least), 1 - self.least)
        return alpha, 1 - alpha
