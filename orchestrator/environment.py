"""Where a stage runs: what training, evaluation and data work are given by whoever runs them."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestrator.config.base import PluginSpec
from orchestrator.errors import StoppedEarlyError

Item = TypeVar("Item")
Result = TypeVar("Result")


class ParallelMap(Protocol):
    """Ordered map over items in other processes (or Ray tasks); `function` and items must pickle.

    At most a few items per worker are in flight, so `items` may be a generator over data larger than memory. Results
    come in the order of the items: the output is the same however many workers there are.
    """

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results of `function`, in the order of the items."""
        ...


def serial_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The :class:`ParallelMap` of one process: for tests and small inputs."""
    return map(function, items)


@dataclass(frozen=True)
class Environment:
    """Where a stage runs. Nothing in it may change a result, but for the order of floating-point sums.

    Attributes:
        work: folder that outlives a killed attempt: checkpoints and `metrics.jsonl`. Removed with publication.
        map: the ordered parallel map.
        device: "cpu" or "cuda".
        threads: compute threads of this process.
        strategy: training strategy, resolved ("single" or "deepspeed"), with its options.
        rank, world_size: place among the training workers of a distributed stage.
        tell: is given each row of metrics too, as a line.
        keep: is told of each checkpoint, a folder, and of each part of other work that a later attempt can use, a file.
        teacher_weights: where a teacher's weights lie while it computes, as the recipe has it; see
            :func:`orchestrator.available.stays_on_disk`.
        is_leaving: whether a worker's node is about to be taken away; None: nobody would know. All workers ask, equally
            often, and hear the same.
        micro_batch: most blocks that a training worker computes at once; None: whole micro-batches.
    """

    work: Path
    map: ParallelMap = serial_map
    device: str = "cpu"
    threads: int = 1
    strategy: PluginSpec = field(default_factory=lambda: PluginSpec(type="single"))
    rank: int = 0
    world_size: int = 1
    micro_batch: int | None = None
    teacher_weights: str = "auto"
    tell: Callable[[str], None] | None = None
    keep: Callable[[Path], None] | None = None
    is_leaving: Callable[[], bool] | None = None

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to `work/metrics.jsonl`, which whoever started the stage follows (progress, tracking).

        Keys: "step" with "steps" (how many there will be), metrics by name, and "message" for a line to print. A number
        that is not finite is written as null: JSON has no other word for it.
        """
        row = {k: None if isinstance(value, float) and not math.isfinite(value) else value for k, value in row.items()}
        self.work.mkdir(parents=True, exist_ok=True)
        line = json.dumps(row, allow_nan=False) + "\n"
        with (self.work / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)
        if self.tell:
            self.tell(line)


def cut_rows(path: Path, step: int) -> None:
    """Cut a file of metrics at the first row of a later step, or one that a kill left half written."""
    if not path.exists():
        return
    with path.open("rb") as file:
        kept = sum(len(line) for line in itertools.takewhile(lambda line: _step_of(line) <= step, file))
    os.truncate(path, kept)


def _step_of(line: bytes) -> float:
    """Step of a row; 0 for rows without one, infinity for what is not a whole row."""
    try:
        return float(json.loads(line).get("step", 0)) if line.endswith(b"\n") else float("inf")
    except ValueError:
        return float("inf")


@dataclass(frozen=True)
class Stoppable(Environment):
    """Ends a stage at its next metrics once it is to stop."""

    is_stopped: Callable[[], bool] = lambda: False

    def log(self, row: Mapping[str, Any]) -> None:
        """See :class:`Environment`.

        Raises:
            StoppedEarlyError: the stage is to stop.
        """
        if self.is_stopped():
            raise StoppedEarlyError("stopped")
        super().log(row)
