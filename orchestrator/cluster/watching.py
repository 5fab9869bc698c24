"""The trainable of Ray Tune: the function trains nothing, and reports the losses of a training that the plan runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.pipeline.following import Follower
from orchestrator.reporting.results import is_number

_LOOK_SECONDS = 0.3


def watch(config: Mapping[str, Any]) -> None:
    """Report each validation loss of a training until the training has ended.

    Args:
        config: "metrics": paths of the metrics file, while the training is at work and afterwards. "ended": path of a
            file that exists when the training has ended.
    """
    for row in validations([Path(path) for path in config["metrics"]], Path(config["ended"])):
        tune.report(row)


def validations(metrics: list[Path], ended: Path) -> Iterator[dict[str, Any]]:
    """The optimizer step and the loss of each validation of a training, until it has ended."""
    told, over = -1, False
    followers = [Follower(path) for path in metrics]
    while not over:
        over = ended.exists()
        for row in (row for follower in followers for row in follower.read()):
            if is_number(row.get("validation_loss")) and row["step"] > told:
                told = row["step"]
                yield {"step": told, "validation_loss": row["validation_loss"]}
        if not over:
            time.sleep(_LOOK_SECONDS)
