"""The same weights at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from orchestrator.schedules._base import LossHistory, Schedule, Weight


@dataclass(frozen=True)
class Fixed(Schedule):
    """alpha and beta as given (paper, sections 3.4 and 4.2).

    Attributes:
        alpha: weight of cross-entropy, in [0, 1]. beta: weight of the soft loss; None: 1 − alpha.
    """

    alpha: Weight = 0.5
    beta: Annotated[float, Field(ge=0)] | None = None

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:  # noqa: ARG002
        """(alpha, beta), whatever the step."""
        return self.alpha, 1 - self.alpha if self.beta is None else self.beta
