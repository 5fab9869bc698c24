"""Whether a worker's node is about to be taken away: all workers ask together, and not at every short step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from orchestrator.training.device import total

if TYPE_CHECKING:
    from orchestrator.environment import Environment

_TIMED = 2
"""Steps after which the workers agree on how many they take between two questions."""
_SECONDS = 1.0
"""Between two questions, about: each is a message to another process."""


class Leaving:
    """What a training asks after each step, with its other workers."""

    def __init__(self, env: Environment, device: torch.device) -> None:
        self._env, self._device = env, device
        self._steps, self._every, self._begin = 0, 1, time.perf_counter()

    def after_a_step(self) -> bool:
        """Whether a node is about to be taken away, as far as is known."""
        if self._env.is_leaving is None:
            return False
        self._steps += 1
        if self._steps == _TIMED:
            seconds = torch.tensor([time.perf_counter() - self._begin], device=self._device)
            mean = float(total(seconds, self._env.world_size)) / self._env.world_size / _TIMED
            self._every = max(1, int(_SECONDS / max(mean, 1e-6)))
        return self._steps >= _TIMED and self._steps % self._every == 0 and self._env.is_leaving()
