"""The same weights at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from orchestrator.schedules._base import LossHistory, Schedule, Weight


@dataclass(frozen=True)
class Fixed(Schedule):
    """alpha and beta as given (paper, sections 3.4 and 4.2)."""

    alpha: Weight = 0.5
    """Weight of cross-entropy, in [0, 1]."""
    beta: Annotated[float, Field(ge=0)] | None = None
    """Weight of the soft loss; null: 1 − alpha."""

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:  # noqa: ARG002
        """(alpha, beta), whatever the step."""
        return self.alpha, 1 - self.alpha if self.beta is None else self.beta
