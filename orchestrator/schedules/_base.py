"""What every schedule of the loss weights is, and the history it may look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from orchestrator.errors import TrainingError

Weight = Annotated[float, Field(ge=0, le=1)]


class LossHistory:
    """The last mean losses per token (ce, soft) of whole optimizer steps, reduced over all workers.

    Every rank appends the same numbers, so every rank gets the same weights. Append-only; keeps at most `window` pairs.
    """

    def __init__(self, window: int = 1, pairs: Iterable[tuple[float, float]] = ()) -> None:
        self._pairs: deque[tuple[float, float]] = deque(pairs, maxlen=window)

    def append(self, ce: float, soft: float) -> None:
        """Add the losses of one finished optimizer step."""
        self._pairs.append((float(ce), float(soft)))

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def ce(self) -> list[float]:
        """Cross-entropies, oldest first."""
        return [ce for ce, _ in self._pairs]

    @property
    def soft(self) -> list[float]:
        """Soft losses, oldest first."""
        return [soft for _, soft in self._pairs]

    def state(self) -> list[list[float]]:
        """What a checkpoint keeps: JSON that gives the same floats back."""
        return [list(pair) for pair in self._pairs]

    def load(self, state: Iterable[Iterable[float]]) -> None:
        """Take over what :meth:`state` gave."""
        self._pairs.clear()
        for ce, soft in state:
            self.append(ce, soft)


@dataclass(frozen=True)
class Schedule(ABC):
    """Weights of cross-entropy (alpha) and soft loss (beta) at each step: a pure function of step and history."""

    @abstractmethod
    def weights(self, step: int, steps: int, history: LossHistory, micro: int = 0) -> tuple[float, float]:
        """(alpha, beta) for an optimizer step.

        Args:
            step: from 0.
            steps: how many there will be.
            history: losses of the steps before this one; see :meth:`window`.
            micro: index of the micro-batch within the step, from 0.

        Raises:
            TrainingError: the schedule needs a longer history than it was given room for.
        """

    def window(self, steps: int) -> int:  # noqa: ARG002
        """Steps of history that :meth:`weights` looks at, in a run of `steps`."""
        return 1


def required(step: int, needed: int, history: LossHistory) -> bool:
    """Whether the history holds `needed` steps by now.

    Raises:
        TrainingError: it holds fewer than were taken so far: it was lost, or its window is too small.
    """
    if len(history) < min(step, needed):
        raise TrainingError(
            f"the schedule needs the losses of the last {min(step, needed)} steps and was given {len(history)}",
            where=f"step {step}",
            fix="keep LossHistory(schedule.window(steps)) across steps and in checkpoints",
        )
    return len(history) >= needed
