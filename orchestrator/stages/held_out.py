"""What the stages that measure models on held-out text share."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config.recipe import EvaluationConfig
from orchestrator.evaluation.evaluated import block_counts
from orchestrator.stages.base import Expected
from orchestrator.tokens.blocks import TokenBlocks


def held_out_tokens(
    evaluation: EvaluationConfig, languages: tuple[str, ...], blocks: Path | None, expected: Expected
) -> int:
    """Tokens of all languages that an evaluation reads, about; 0: not known.

    Raises:
        CorpusError: a language has none.
    """
    if blocks is not None:
        opened = TokenBlocks.open(blocks, evaluation.split)
        return sum(block_counts(opened, languages, evaluation.max_blocks).values()) * opened.context
    count = expected.blocks.get(evaluation.split, 0)
    return min(count, evaluation.max_blocks or count) * expected.context * len(languages)
