"""What a stage is, and what it is given to run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from orchestrator.config.base import PluginSpec, Section
from orchestrator.config.identity import identity
from orchestrator.config.recipe import TrainingConfig

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
    """

    work: Path
    map: ParallelMap = serial_map
    device: str = "cpu"
    threads: int = 1
    strategy: PluginSpec = field(default_factory=lambda: PluginSpec(type="single"))
    rank: int = 0
    world_size: int = 1

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to `work/metrics.jsonl`, which whoever started the stage follows (progress, tracking).

        Keys: "step" with "steps" (how many there will be), metrics by name, and "message" for a line to print. A number
        that is not finite is written as null: JSON has no other word for it.
        """
        row = {k: None if isinstance(value, float) and not math.isfinite(value) else value for k, value in row.items()}
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Cost:
    """What a stage is expected to take, before it runs; 0 where it is not known or not worth saying.

    Attributes:
        parameters: of the model in training. tokens: to be read. flops: floating-point operations.
        memory_bytes: largest resident memory of a worker. disk_bytes: of a large result.
        training: the run, where the stage is one, on `tokens` tokens.
        seconds: about, on one core, of a stage that works long without a model.
    """

    parameters: int = 0
    tokens: int = 0
    flops: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    training: TrainingConfig | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Expected:
    """What the recipe says of artifacts that may not exist yet, for costs.

    Attributes:
        vocab_size, context: of blocks. languages: how many. tokens_per_language: of the training split; None: not
            known before they are counted. teacher: its architecture.
        blocks: of each language by split, about; empty: nobody can tell before the text is read.
        tokenizer: folder of a given one; None: it is trained.
    """

    vocab_size: int
    context: int
    languages: int
    tokens_per_language: int | None
    teacher: PluginSpec
    blocks: Mapping[str, int] = field(default_factory=dict)
    tokenizer: Path | None = None


class Stage(Section):
    """A stage's fields are exactly what its result depends on, beside its inputs and what lies outside.

    Class attributes:
        version: raised by whoever changes what the stage makes of the same fields and inputs; part of the fingerprint,
            as the code and the libraries are not (see :mod:`orchestrator.provenance`).
        distributed: run by every training worker (SPMD); only rank 0 writes to `out`.
        accelerated: not distributed, and gains from a GPU: it is given one where there are any.
        by_parts: distributed, and trains a model of parts, which strategies may spread over the workers.
    """

    version: ClassVar[int] = 1
    distributed: ClassVar[bool] = False
    accelerated: ClassVar[bool] = False
    by_parts: ClassVar[bool] = False

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """Read the artifacts `inputs` (role -> folder), write this stage's files into the empty folder `out`.

        Raises:
            MomeError: whatever a person can mend.
        """
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """What the stage and its fields are, for fingerprints: JSON-able."""
        return {"stage": type(self).__name__, "version": self.version, "config": identity(self)}

    def external(self) -> Mapping[str, str]:
        """Identity of what the stage reads beside its inputs (sources, pretrained models), as part of its fingerprint.

        Called before every run: cheap, and no network.

        Raises:
            MomeError: something is missing.
        """
        return {}

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:  # noqa: ARG002
        """Expected cost; `inputs` holds None for artifacts that don't exist yet: `expected` says what is known of them.

        Raises:
            MomeError: the configuration can't work.
        """
        return Cost()
