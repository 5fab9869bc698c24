"""The paper's adaptive alpha, as its released code computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.schedules._base import LossHistory, Schedule, required


@dataclass(frozen=True)
class AdaptivePaper(Schedule):
    """alpha = w(ce) / (w(ce) + w(soft)) with w(L) = 1 − clamp((L[-1] − L[-k]) / mean(L[-k:]), 0, 1), beta = 1 − alpha.

    The window k is max(20, steps / 100); before it is full, alpha is 0.5. As long as both losses fall, both w are 1 and
    alpha stays at 0.5; a loss that rises is weighted *down*. (Paper, section 4.2; the code keeps a history per rank
    and micro-batch, here it is one of globally reduced losses per optimizer step.)
    """

    def window(self, steps: int) -> int:
        """The k of the formula."""
        return max(20, steps // 100)

    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:  # noqa: ARG002
        """(alpha, beta) from the last k losses."""
        window = self.window(steps)
        if not required(step, window, history):
            return 0.5, 0.5
        ce, soft = _steadiness(history.ce[-window:]), _steadiness(history.soft[-window:])
        alpha = ce / (ce + soft) if ce + soft > 0 else 0.5
        return alpha, 1 - alpha


def _steadiness(losses: Sequence[float]) -> float:
    """w: 1 for a loss that does not rise, 0 for one that rises by its own mean."""
    mean = sum(losses) / len(losses)
    rise = (losses[-1] - losses[0]) / mean if mean > 0 else 0.0
    return 1 - min(max(rise, 0.0), 1.0)
