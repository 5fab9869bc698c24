"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Literal

Decay = Literal["cosine", "linear", "constant", "wsd"]
_FALLING = 0.2  # share of the steps, by "wsd"


def learning_rate(
    step: int,
    steps: int,
    peak: float,
    warmup: float = 0.05,
    decay: Decay = "cosine",
    final: float = 0.1,
) -> float:
    """Linear warm-up to `peak`, then decay to ``final * peak``.

    Cosine: arXiv:1608.03983, equation 5. "wsd": warm-up, stable, decay (arXiv:2404.06395), at `peak` until it falls
    linearly over the last fifth of the steps.

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
    start = max(rising, round((1 - _FALLING) * steps)) if decay == "wsd" else rising
    done = min(1.0, max(0, step - start) / max(1, steps - 1 - start))
    height = 1 - done if decay in ("linear", "wsd") else (1 + math.cos(math.pi * done)) / 2
    return peak * (final + (1 - final) * height)
