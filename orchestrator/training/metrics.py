"""Rows of ``metrics.jsonl``: at steps that depend on the run's length only, written by rank 0."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.training.checkpoints import Progress
from orchestrator.training.step import StepResult

if TYPE_CHECKING:
    from orchestrator.stages.base import Environment

ROWS = 200
"""Rows of training metrics that a run writes, about."""
OPTIONAL = ("ce_slope", "soft_slope", "hidden")
"""Figures that are 0 where nothing asks for them, and left out then."""


class Metrics:
    """Writes the metrics of one run through ``env.log``; nothing on ranks other than 0.

    Args:
        env: where the rows go. steps: optimizer steps of the run.
    """

    def __init__(self, env: Environment, steps: int) -> None:
        self.env, self.steps = env, steps
        self.every = max(1, steps // ROWS)
        self._last = (0.0, 0)  # training seconds and tokens at the last row
        self._weights: list[tuple[float, float]] = []  # of the steps since

    def rewind(self, progress: Progress) -> None:
        """Cut the file at the first row of a step that a resumed run takes again, or that a kill left half written."""
        self._last = (progress.training_seconds, progress.tokens)
        path = self.env.work / "metrics.jsonl"
        if self.env.rank or not path.exists():
            return
        with path.open("rb") as file:
            kept = sum(len(line) for line in itertools.takewhile(lambda line: _step_of(line) <= progress.step, file))
        os.truncate(path, kept)

    def step(self, progress: Progress, result: StepResult, lr: float) -> None:
        """Log a step if its turn has come; "step" counts the steps taken.

        Where rows are further apart than a step, alpha and beta are means since the row before: an alternating schedule
        would look like a fixed one otherwise.
        """
        if self.env.rank:
            return
        self._weights.append((result.alpha, result.beta))
        if progress.step % self.every and progress.step != self.steps:
            return
        alpha, beta = (fmean(values) for values in zip(*self._weights, strict=True))
        self._weights.clear()
        seconds, tokens = progress.training_seconds - self._last[0], progress.tokens - self._last[1]
        self._last = (progress.training_seconds, progress.tokens)
        figures = {name: value for name, value in asdict(result).items() if value or name not in OPTIONAL}
        row = {"step": progress.step, "steps": self.steps, **figures, "alpha": alpha, "beta": beta, "lr": lr}
        self.env.log({**row, "tokens": progress.tokens, "tokens_per_second": round(tokens / max(seconds, 1e-9), 1)})

    def validation(self, progress: Progress, losses: Mapping[str, float]) -> None:
        """Log a validation: the mean and each language."""
        if self.env.rank:
            return
        by_language = {f"validation_loss/{language}": loss for language, loss in losses.items()}
        self.env.log(
            {"step": progress.step, "steps": self.steps, "validation_loss": progress.validation_loss, **by_language}
        )


def _step_of(line: bytes) -> float:
    """Step of a row; 0 for rows without one, infinity for what is not a whole row."""
    try:
        return float(json.loads(line).get("step", 0)) if line.endswith(b"\n") else float("inf")
    except ValueError:
        return float("inf")
