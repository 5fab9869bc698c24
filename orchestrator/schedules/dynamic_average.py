"""Weights by how fast each loss falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from orchestrator.schedules._base import LossHistory, Schedule, required


@dataclass(frozen=True)
class DynamicAverage(Schedule):
    """(alpha, beta) = softmax(r(ce) / temperature, r(soft) / temperature), r(L) = recent mean / earlier mean of L.

    Dynamic weight average (Liu et al., arXiv:1803.10704) with the sum of the weights at 1: the loss that falls
    more slowly gets more weight. Epoch means of the original are means over two windows that follow each other.
    """

    steps_averaged: Annotated[int, Field(ge=1)] = 50
    """Length of each window; until both are full the weights are 0.5."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Temperature of the softmax; smaller ones react more (the original: 2, over losses that halve in an epoch)."""

    def window(self, steps: int) -> int:  # noqa: ARG002
        """Both windows."""
        return 2 * self.steps_averaged

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:  # noqa: ARG002
        """(alpha, beta) from the rates of the last two windows."""
        if not required(step, 2 * self.steps_averaged, history):
            return 0.5, 0.5
        difference = self._rate(history.ce) - self._rate(history.soft)
        alpha = 0.5 * (1 + math.tanh(difference / (2 * self.temperature)))  # a softmax over two
        return alpha, 1 - alpha

    def _rate(self, losses: Sequence[float]) -> float:
        earlier, recent = losses[-2 * self.steps_averaged : -self.steps_averaged], losses[-self.steps_averaged :]
        return sum(recent) / sum(earlier) if sum(earlier) > 0 else 1.0
