"""Rows of ``metrics.jsonl``: at steps that depend on the run's length only, written by rank 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.environment import cut_rows
from orchestrator.training.checkpoints import Progress
from orchestrator.training.step import OPTIONAL, StepResult

if TYPE_CHECKING:
    from orchestrator.environment import Environment

ROWS = 200
"""Rows of training metrics that a run writes, about."""
LOSSES = ("loss", "ce", *OPTIONAL)
"""Figures that are means over tokens."""
OF_STEPS = ("alpha", "beta", "grad_norm")
"""Figures that are means over steps."""
ALWAYS = ("loss", "ce", "soft", *OF_STEPS)
"""Figures that every row has, null where they were not computed; the others are left out then."""


class Metrics:
    """Writes the metrics of one run through ``env.log``; nothing on ranks other than 0.

    Args:
        env: where the rows go.
        steps: optimizer steps of the run.
    """

    def __init__(self, env: Environment, steps: int) -> None:
        self.env, self.steps = env, steps
        self.every = max(1, steps // ROWS)
        self._last = (0.0, 0)  # training seconds and tokens at the last row
        self._sums: dict[str, list[float]] = {}  # of the steps since: figure -> its sum, and what to divide it by

    def rewind(self, progress: Progress) -> None:
        """Cut the file at the first row of a step that a resumed run takes again, or that a kill left half written."""
        self._last = (progress.training_seconds, progress.tokens)
        self._sums = {name: list(sums) for name, sums in progress.since_row.items()}
        if not self.env.rank:
            cut_rows(self.env.work / "metrics.jsonl", progress.step)

    def step(self, progress: Progress, result: StepResult, lr: float) -> None:
        """Count a step in, and write a row if its turn has come: the means over all steps since the row before.

        Losses are means over the tokens that they were computed for, so a row of an alternating schedule shows what the
        soft loss is where there is one; alpha, beta and the gradient's norm are means over steps. "step" counts the
        steps taken, and "lr" is that step's.
        """
        if self.env.rank:
            return
        self._add(result)
        if progress.step % self.every and progress.step != self.steps:
            return
        means = {name: total / weight for name, (total, weight) in self._sums.items() if weight}
        self._sums.clear()
        seconds, tokens = progress.training_seconds - self._last[0], progress.tokens - self._last[1]
        self._last = (progress.training_seconds, progress.tokens)
        figures = {name: means.get(name) for name in (*LOSSES, *OF_STEPS) if name in means or name in ALWAYS}
        row = {"step": progress.step, "steps": self.steps, **figures, "lr": lr, "tokens": progress.tokens}
        self.env.log({**row, "tokens_per_second": round(tokens / max(seconds, 1e-9), 1)})

    def state(self) -> dict[str, list[float]]:
        """What a checkpoint keeps of the steps that no row has told of yet."""
        return {name: list(sums) for name, sums in self._sums.items()}

    def _add(self, result: StepResult) -> None:
        for name in (*LOSSES, *OF_STEPS):
            if (value := getattr(result, name)) is None:
                continue
            weight = 1 if name in OF_STEPS else result.counts[name] if name in OPTIONAL else result.tokens
            sums = self._sums.setdefault(name, [0.0, 0])
            sums[0] += value * weight
            sums[1] += weight

    def validation(self, progress: Progress, losses: Mapping[str, float]) -> None:
        """Log a validation: the mean and each language."""
        if self.env.rank:
            return
        by_language = {f"validation_loss/{language}": loss for language, loss in losses.items()}
        self.env.log(
            {"step": progress.step, "steps": self.steps, "validation_loss": progress.validation_loss, **by_language}
        )
