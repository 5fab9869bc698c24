"""One loss at a time, in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.schedules._base import LossHistory, Schedule


@dataclass(frozen=True)
class Alternating(Schedule):
    """Cross-entropy alone, then the soft loss alone, and so on (the paper's alternating losses, section 4.3).

    Attributes:
        per: `step` alternates optimizer steps, as the text reads; `micro_batch` the micro-batches within a step, as the
            released code does, so that with accumulation every step is both losses at half weight.
    """

    per: Literal["step", "micro_batch"] = "step"

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:  # noqa: ARG002
        """(1, 0) on even turns, (0, 1) on odd ones."""
        turn = step if self.per == "step" else micro
        return (0.0, 1.0) if turn % 2 else (1.0, 0.0)
