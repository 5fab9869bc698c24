"""Stage: the losses of one model on every language's held-out blocks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from safetensors.numpy import save_file

from orchestrator.config.recipe import EvaluationConfig
from orchestrator.environment import Environment
from orchestrator.evaluation.evaluated import block_counts, works_of
from orchestrator.evaluation.perplexity import block_losses
from orchestrator.models import load_model
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.stages.held_out import held_out_tokens
from orchestrator.tokens.blocks import TokenBlocks


class MeasureStage(Stage):
    """Reads `blocks` and `model` (an artifact with `model/`). Writes `block_losses.safetensors`: "loss/<language>",
    float64 [n], nats summed over a block; "works/<language>", int64 [n], the work it is of. The blocks are those of the
    evaluation.
    """

    accelerated: ClassVar[bool] = True

    evaluation: EvaluationConfig
    languages: tuple[str, ...]

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            CorpusError: a language has no held-out block. ModelError: the model does not fit the blocks.
            ArtifactError: the model can't be loaded.
        """
        blocks = TokenBlocks.open(inputs["blocks"], self.evaluation.split)
        model, batch = load_model(inputs["model"] / "model", env.device), self.evaluation.batch
        counts = block_counts(blocks, self.languages, self.evaluation.max_blocks)
        losses = {name: block_losses(model, blocks, name, count, batch) for name, count in counts.items()}
        works = {f"works/{name}": works_of(blocks, name, count) for name, count in counts.items()}
        tensors = {f"loss/{language}": values for language, values in losses.items()}
        save_file({**tensors, **works}, out / "block_losses.safetensors")

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """Tokens read."""
        return Cost(tokens=held_out_tokens(self.evaluation, self.languages, inputs.get("blocks"), expected))
