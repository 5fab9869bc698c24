"""From the recipe's tokens to steps, micro-batches and workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import TrainingError
from orchestrator.losses import IGNORED
from orchestrator.tokens.blocks import TokenBlocks


class Batch(NamedTuple):
    """A micro-batch of B blocks.

    Attributes:
        inputs, labels: int64 [B, T]; a label of −100 is not to be learned.
        rows: int64 [B, 2], (language, block) indices, always on the CPU: what a teacher's cache is read by.
        languages: names that the language indices refer to.
    """

    inputs: Tensor
    labels: Tensor
    rows: Tensor
    languages: tuple[str, ...] = ()

    def by_language(self) -> Iterator[tuple[str, Batch]]:
        """Its languages, each with a batch of its blocks, in the order of the indices."""
        for index in sorted(set(self.rows[:, 0].tolist())):
            chosen = (self.rows[:, 0] == index).nonzero()[:, 0]
            where = chosen.to(self.inputs.device)
            inputs, labels = self.inputs[where], self.labels[where]
            yield self.languages[index], self._replace(inputs=inputs, labels=labels, rows=self.rows[chosen])

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tokens on `device`."""
        return self._replace(
            inputs=self.inputs.to(device, non_blocking=True), labels=self.labels.to(device, non_blocking=True)
        )


@dataclass(frozen=True)
class BatchPlan:
    """How a training run is cut up.

    Attributes:
        batch_blocks: blocks of an optimizer step, over all workers.
        accumulation: micro-batches that a worker accumulates in a step.
    """

    batch_blocks: int
    accumulation: int


def plan_batches(config: TrainingConfig, context: int, available: int, world_size: int) -> BatchPlan:
    """Cut a batch into blocks of `context` tokens, workers and micro-batches; there are `available` blocks in all.

    Raises:
        TrainingError: a batch is smaller than a block, larger than the data, or does not divide into micro-batches.
    """
    blocks = config.batch_tokens // context
    if blocks == 0:
        raise TrainingError(
            f"a batch of {config.batch_tokens} tokens is smaller than a block of {context}",
            where="training.batch_tokens",
            fix=f"set batch_tokens to a multiple of {context}",
        )
    unit = config.micro_batch * world_size
    if blocks % unit:
        lower, upper = blocks // unit * unit * context, (blocks // unit + 1) * unit * context
        nearest = " or ".join(str(value) for value in (lower, upper) if value)
        raise TrainingError(
            f"a batch of {blocks} blocks ({config.batch_tokens} tokens of context {context}) does not divide into "
            f"micro-batches of {config.micro_batch} on {world_size} worker(s)",
            where="training.batch_tokens",
            fix=f"set batch_tokens to {nearest}, or change micro_batch",
        )
    if available < blocks:
        raise TrainingError(
            f"the data has {available} blocks of {context} tokens, fewer than a batch of {blocks}",
            where="training.batch_tokens",
            fix=f"set batch_tokens to at most {available // unit * unit * context or context}, or add text",
        )
    return BatchPlan(blocks, blocks // unit)


def micro_batches(blocks: TokenBlocks, rows: np.ndarray, size: int, rank: int, world_size: int) -> Iterator[Batch]:
    """The worker's share of `rows` in micro-batches of `size`.

    Every worker gets equally many: where rows run out they are filled with repeats whose labels are −100.
    """
    unit = size * world_size
    missing = -len(rows) % unit
    filled = np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)])
    real = np.arange(len(filled)) < len(rows)
    mine, mine_real = filled[rank::world_size], real[rank::world_size]
    for start in range(0, len(mine), size):
        part = slice(start, start + size)
        tokens = torch.from_numpy(blocks.gather(mine[part]))
        inputs, labels = tokens[:, :-1], tokens[:, 1:].clone()
        labels[torch.from_numpy(~mine_real[part])] = IGNORED
        rows_B2 = torch.from_numpy(np.ascontiguousarray(mine[part]))
        yield Batch(inputs.contiguous(), labels, rows_B2, blocks.languages)


def name_rows(blocks: TokenBlocks, rows: np.ndarray, limit: int = 8) -> str:
    """Rows of a batch for a message: "en:12 fr:5 … (64 blocks)"."""
    names = " ".join(f"{blocks.languages[language]}:{block}" for language, block in rows[:limit].tolist())
    return names + (f" … ({len(rows)} blocks)" if len(rows) > limit else "")
