"""What the stages that know of cut vocabularies share: an input "vocabulary-<language>", where the recipe has one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.stages._aligned import open_aligned
from orchestrator.stages.base import Expected
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.kept import Kept, KeptBlocks

if TYPE_CHECKING:
    from orchestrator.teacher import KeptTokens

GUESS = 0.2
"""Share of a vocabulary that a language needs beside the bytes, before its text is counted: a guess."""


def open_blocks(inputs: Mapping[str, Path], split: str, language: str) -> TokenBlocks:
    """A split in the tokens of a language's expert, beside the teacher's where those are others.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    vocabulary = inputs.get(f"vocabulary-{language}")
    if vocabulary is None:
        return open_aligned(inputs, split, [language])
    return KeptBlocks(inputs["blocks"], split, vocabulary)


def kept_tokens(blocks: TokenBlocks) -> KeptTokens | None:
    """What a teacher has to know of its students' tokens; None: they have all."""
    import torch

    from orchestrator.teacher import KeptTokens

    if not isinstance(blocks, KeptBlocks):
        return None

    def whole(rows_B2: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(blocks.whole(rows_B2.numpy())[:, :-1])

    return KeptTokens(torch.from_numpy(blocks.kept.kept), blocks.kept.size, whole)


def expected_rows(inputs: Mapping[str, Path | None], language: str, vocab_size: int, expected: Expected) -> int:
    """Rows of an expert of a language, about where its vocabulary is not known yet."""
    folder = inputs.get(f"vocabulary-{language}")
    if folder is not None:
        return Kept.load(folder).rows
    return min(vocab_size, 256 + int(GUESS * vocab_size)) if expected.cuts_vocabulary else vocab_size
