"""Stage: the tokens that one language's expert has, and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orchestrator.config.vocabulary import VocabularyConfig
from orchestrator.disk import disk_errors, file_digest
from orchestrator.environment import Environment
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.kept import Kept
from orchestrator.tokens.trimming import Trimming

_BLOCKS = 4096
"""Blocks whose tokens are counted at once."""


class VocabularyStage(Stage):
    """Counts the tokens of a language's training blocks and keeps those that it needs.

    Reads `blocks` and `tokenizer`. Writes what :class:`orchestrator.tokens.kept.Kept` reads, and `tokenizer/`.
    """

    language: str
    """Language of the text."""
    vocabulary: VocabularyConfig
    """How much is kept."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            TokenizerError: it is of a kind that can't be cut. ArtifactError: blocks are damaged.
        """
        trimming = Trimming(inputs["tokenizer"])
        blocks = TokenBlocks.open(inputs["blocks"], "train")
        counts = token_counts(blocks, self.language)
        kept = trimming.chosen(counts, self.vocabulary.keep)
        with disk_errors(out):
            starts, spelled = trimming.write(kept, out / "tokenizer")
            covered, lengths = counts[kept].sum() / max(1, counts.sum()), np.diff(starts)
            about = {
                "tokenizer": file_digest(inputs["tokenizer"] / "tokenizer.json"),
                "keep": self.vocabulary.keep,
                "tokens": len(kept),
                "of": blocks.vocab_size,
                "covered": float(covered),
                "longer": float((counts * lengths).sum() / max(1, counts.sum())),
            }
            Kept(kept, starts, spelled, about).save(out)
        message = f"{len(kept):,} of {blocks.vocab_size:,} tokens are {covered:.2%} of the text in {self.language}"
        env.log({"message": message})

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """Tokens to count.

        Raises:
            TokenizerError: see :meth:`run`.
        """
        if (tokenizer := inputs.get("tokenizer") or expected.tokenizer) is not None:
            Trimming(tokenizer)
        return Cost(tokens=expected.tokens_per_language or expected.blocks.get("train", 0) * expected.context)


def token_counts(blocks: TokenBlocks, language: str) -> np.ndarray:
    """How often each token is a target in the blocks of a language, int64 [V]."""
    counts, row = np.zeros(blocks.vocab_size, np.int64), blocks.languages.index(language)
    for start in range(0, blocks.count(language), _BLOCKS):
        numbers = np.arange(start, min(start + _BLOCKS, blocks.count(language)))
        ids = blocks.gather(np.stack([np.full_like(numbers, row), numbers], axis=1))[:, 1:]
        counts += np.bincount(ids.ravel(), minlength=len(counts))
    return counts
