"""What every schedule of the loss weights is, and the history it may look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field

from orchestrator.errors import TrainingError

Weight = Annotated[float, Field(ge=0, le=1)]


class StepLosses(NamedTuple):
    """Means per token over one whole optimizer step and all workers.

    Attributes:
        ce, soft: the two losses, without their weights.
        ce_slope, soft_slope: squared norm of each one's gradient in the logits, for schedules that ask for `slopes`.
    """

    ce: float
    soft: float
    ce_slope: float = 0.0
    soft_slope: float = 0.0


class LossHistory:
    """The losses of the last steps, at most `window` of them; oldest first, append-only.

    They are reduced over all workers: every rank appends the same numbers, so every rank gets the same weights.
    """

    def __init__(self, window: int = 1, steps: Iterable[Iterable[float]] = ()) -> None:
        self._steps: deque[StepLosses] = deque(maxlen=window)
        self.load(steps)

    def append(self, losses: StepLosses) -> None:
        """Add one finished optimizer step."""
        self._steps.append(losses)

    def __len__(self) -> int:
        return len(self._steps)

    def last(self, count: int) -> list[StepLosses]:
        """The last `count` steps, or as many as there are."""
        return list(self._steps)[-count:]

    @property
    def ce(self) -> list[float]:
        """Cross-entropies."""
        return [step.ce for step in self._steps]

    @property
    def soft(self) -> list[float]:
        """Soft losses."""
        return [step.soft for step in self._steps]

    def state(self) -> list[list[float]]:
        """What a checkpoint keeps: JSON that gives the same floats back."""
        return [list(step) for step in self._steps]

    def load(self, state: Iterable[Iterable[float]]) -> None:
        """Take over what :meth:`state` gave."""
        self._steps.clear()
        for losses in state:
            self.append(StepLosses(*losses))


@dataclass(frozen=True)
class Schedule(ABC):
    """Weights of cross-entropy (alpha) and soft loss (beta) at each step: a pure function of step and history."""

    slopes: ClassVar[bool] = False
    """Whether it looks at the slopes in the history; they cost a few per cent of a step."""

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
