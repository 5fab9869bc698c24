"""Stage: a base, and an expert that went on from it -> losses with each rank of what the expert changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor
from transformers import PreTrainedModel

from orchestrator.artifacts import write_json
from orchestrator.config.recipe import EvaluationConfig
from orchestrator.environment import Environment
from orchestrator.evaluation.evaluated import block_counts, works_of
from orchestrator.evaluation.perplexity import block_losses
from orchestrator.models import load_model
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.stages.held_out import held_out_tokens
from orchestrator.tokens.blocks import TokenBlocks

Factors = tuple[Tensor, Tensor, Tensor]
"""A singular value decomposition: [m, k], [k], [k, n]."""


class LowRankStage(Stage):
    """Keeps the part of a rank of the difference between each of the expert's weight matrices and the base's.

    Reads `blocks`, `base` and `expert` (artifacts with `model/`). Writes `losses.safetensors`: "loss/<kept>", float64
    [n], nats summed over a block, where <kept> is "base", a rank, or "expert"; "works", int64 [n], the work of each.
    Writes `sizes.json`: by <kept>, the numbers to store beside the base, factored or whole, whichever is fewer.
    """

    accelerated: ClassVar[bool] = True

    language: str
    """Language of the expert, whose held-out blocks are measured."""
    ranks: tuple[int, ...]
    """Ranks to keep; a vector is a matrix of rank 1."""
    evaluation: EvaluationConfig
    """Split, and how many blocks."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            CorpusError: the language has no held-out block. ArtifactError: a model can't be loaded.
        """
        blocks = TokenBlocks.open(inputs["blocks"], self.evaluation.split)
        count = block_counts(blocks, (self.language,), self.evaluation.max_blocks)[self.language]
        base, expert = (load_model(inputs[role] / "model", env.device) for role in ("base", "expert"))
        start, weights = dict(base.named_parameters()), dict(expert.named_parameters())
        sizes = {"base": 0, "expert": sum(weight.numel() for weight in weights.values())}

        def measured(model: PreTrainedModel) -> NDArray[np.float64]:
            return block_losses(model, blocks, self.language, count, self.evaluation.batch)

        losses = {"base": measured(base), "expert": measured(expert)}
        with torch.no_grad():
            learned = {name: factors(weight - start[name]) for name, weight in weights.items()}
            for rank in self.ranks:
                for name, weight in weights.items():
                    weight.copy_(start[name] + low_rank(learned[name], rank).reshape(weight.shape))
                losses[str(rank)] = measured(expert)
                sizes[str(rank)] = sum(size(each, rank) for each in learned.values())
        tensors = {f"loss/{kept}": values for kept, values in losses.items()}
        save_file({**tensors, "works": works_of(blocks, self.language, count)}, out / "losses.safetensors")
        write_json(out / "sizes.json", sizes)

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """Tokens read."""
        once = held_out_tokens(self.evaluation, (self.language,), inputs.get("blocks"), expected)
        return Cost(tokens=once * (len(self.ranks) + 2))


def factors(difference: Tensor) -> Factors:
    """The singular value decomposition of [m, …], seen as a matrix [m, n]; of a vector as [m, 1]."""
    found: Factors = torch.linalg.svd(difference.reshape(len(difference), -1), full_matrices=False)
    return found


def low_rank(learned: Factors, rank: int) -> Tensor:
    """The nearest matrix of a rank (Eckart and Young, 1936): [m, n]; all of it where it has no more."""
    u_MK, s_K, v_KN = learned
    return (u_MK[:, :rank] * s_K[:rank]) @ v_KN[:rank]


def size(learned: Factors, rank: int) -> int:
    """How many numbers that takes, as two factors or as one matrix."""
    u_MK, s_K, v_KN = learned
    m, n = len(u_MK), v_KN.shape[1]
    return min(min(rank, len(s_K)) * (m + n), m * n)
