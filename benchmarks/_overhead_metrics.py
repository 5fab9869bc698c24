"""What a row of metrics costs: the product's writer beside one whose rows go nowhere."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.environment import Environment
from orchestrator.training.checkpoints import Progress
from orchestrator.training.metrics import Metrics
from orchestrator.training.step import StepResult


class Silent(Environment):
    """Rows go nowhere."""

    def log(self, row: Mapping[str, Any]) -> None:
        """See :class:`orchestrator.environment.Environment`."""


def row_seconds(rows: int = 200, *, written: bool = True) -> list[float]:
    """Seconds that each of `rows` optimizer steps spends on its metrics, a row each; `written`: to a file."""
    figures = {"loss": 1.5, "ce": 1.25, "soft": 1.75, "alpha": 0.5, "beta": 0.5, "grad_norm": 0.75}
    result = StepResult(**figures, ce_slope=None, soft_slope=None, hidden=None, tokens=512, counts={"soft": 512})
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        metrics = Metrics((Environment if written else Silent)(work=Path(folder)), rows)
        for step in range(1, rows + 1):
            start = time.perf_counter()
            metrics.step(Progress(step=step, tokens=512 * step, training_seconds=0.01 * step), result, 1e-3)
            seconds.append(time.perf_counter() - start)
    return seconds
