"""From the recipe's tokens to steps, micro-batches and workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import TrainingError
from orchestrator.losses import IGNORED
from orchestrator.moving import moved
from orchestrator.tokens.blocks import TokenBlocks


class Batch(NamedTuple):
    """A micro-batch of B blocks.

    Attributes:
        inputs: int64 [B, T].
        labels: int64 [B, T], always on the CPU, where they can be looked at; −100 is not to be learned.
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
            inputs, labels = self.inputs[moved(chosen, self.inputs.device)], self.labels[chosen]
            yield self.languages[index], self._replace(inputs=inputs, labels=labels, rows=self.rows[chosen])

    def pieces(self, most: int | None) -> Iterator[Batch]:
        """Its blocks in order, at most so many in a piece; None: itself."""
        count, size = len(self.rows), most or max(1, len(self.rows))
        for start in range(0, count, size):
            part = slice(start, start + size)
            yield self._replace(inputs=self.inputs[part], labels=self.labels[part], rows=self.rows[part])

    def to(self, device: torch.device) -> Batch:
        """The same batch with its inputs on `device`."""
        return self._replace(inputs=moved(self.inputs, device))


def plan_batches(config: TrainingConfig, context: int, available: int, world_size: int) -> int:
    """Blocks of an optimizer step over all workers, where each of `world_size` accumulates whole micro-batches.

    Args:
        config: of the run.
        context: tokens of a block.
        available: blocks in all.
        world_size: workers that share a batch.

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
            fix=_smaller(config.micro_batch, context, available, world_size),
        )
    return blocks


def _smaller(micro_batch: int, context: int, available: int, world_size: int) -> str:
    """What makes a batch of so few blocks."""
    unit, each = micro_batch * world_size, available // world_size
    if available >= unit:
        return f"set batch_tokens to at most {available // unit * unit * context}, or add text"
    if not each:
        return f"add text, or train with at most {available} worker(s)"
    return f"set micro_batch to {each} and batch_tokens to {each * world_size * context}, or add text"


def micro_batches(
    blocks: TokenBlocks, rows: np.ndarray, size: int, rank: int, world_size: int, by_language: bool = False
) -> Iterator[Batch]:
    """The worker's share of `rows` in micro-batches of `size`.

    Every worker gets equally many: where rows run out they are filled with repeats whose labels are −100.

    Args:
        blocks: to read from.
        rows: int64 [B, 2], (language, block) indices.
        size: blocks of a micro-batch.
        rank, world_size: place among the workers.
        by_language: one language after the other, so that a micro-batch is of as few as possible, and equally many
            rows of each for every worker: their micro-batches are of the same languages, and whoever sums gradients
            or gathers weights while others do (ZeRO 2 and 3) meets them at the same expert.
    """
    marked = np.column_stack([rows, np.ones(len(rows), np.int64)])  # 1: to be learned
    groups = [marked]
    if by_language:
        groups = [marked[rows[:, 0] == language] for language in np.unique(rows[:, 0])]
    shares = [_filled(group, world_size)[rank::world_size] for group in groups]
    mine = _filled(np.concatenate([marked[:0], *shares]), size)
    for start in range(0, len(mine), size):
        part = torch.from_numpy(mine[start : start + size])
        tokens = torch.from_numpy(blocks.gather(part[:, :2].numpy()))
        inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
        labels[part[:, 2] == 0] = IGNORED
        yield Batch(inputs, labels, part[:, :2].contiguous(), blocks.languages)


def _filled(marked: np.ndarray, multiple: int) -> np.ndarray:
    """Marked rows [B, 3] and repeats of the last one, marked 0, up to a multiple."""
    fillers = np.repeat(marked[-1:], -len(marked) % multiple, axis=0)
    fillers[:, 2] = 0
    return np.concatenate([marked, fillers])


def name_rows(blocks: TokenBlocks, rows: np.ndarray, limit: int = 8) -> str:
    """Rows of a batch for a message: "en:12 fr:5 … (64 blocks)"."""
    names = " ".join(f"{blocks.languages[language]}:{block}" for language, block in rows[:limit].tolist())
    return names + (f" … ({len(rows)} blocks)" if len(rows) > limit else "")
