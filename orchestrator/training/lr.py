"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate(
    step: int,
    steps: int,
    peak: float,
    warmup: float = 0.05,
    decay: Literal["cosine", "linear", "constant"] = "cosine",
    final: float = 0.1,
) -> float:
    """Linear warm-up to `peak`, then decay to ``final * peak`` (cosine: arXiv:1608.03983, equation 5).

    Args:
        step: optimizer step about to be taken, from 0.
        steps: how many there are in all.
        peak: highest learning rate.
        warmup: share of the steps in which it rises; step 0 already learns.
        decay: how it falls.
        final: learning rate of the last step, as a share of `peak`.
    """
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    if decay == "constant":
        return peak
    done = min(1.0, (step - rising) / max(1, steps - 1 - rising))
    height = 1 - done if decay == "linear" else (1 + math.cos(math.pi * done)) / 2
    return peak * (final + (1 - final) * height)
