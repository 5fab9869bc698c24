"""What the stages that know of a teacher with other tokens share: an input "alignment-<language>" for each language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tokens.aligned import AlignedBlocks
from orchestrator.tokens.blocks import TokenBlocks

if TYPE_CHECKING:
    import torch

    from orchestrator.teacher import AlignedTokens


def open_aligned(inputs: Mapping[str, Path], split: str, languages: Iterable[str]) -> TokenBlocks:
    """A split, which knows its text in the teacher's tokens where those are others.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    found = {language: inputs[name] for language in languages if (name := f"alignment-{language}") in inputs}
    return AlignedBlocks(inputs["blocks"], split, found) if found else TokenBlocks.open(inputs["blocks"], split)


def aligned_tokens(blocks: TokenBlocks) -> AlignedTokens | None:
    """What a teacher has to know of its students' tokens where its own are others; None: they are the same."""
    import torch

    from orchestrator.classes import Barred, Classes, Ways
    from orchestrator.teacher import AlignedTokens, Window

    if not isinstance(blocks, AlignedBlocks):
        return None

    def window(rows_B2: torch.Tensor) -> Window:
        return Window(*map(torch.from_numpy, blocks.windows(rows_B2.numpy())))

    alignment = blocks.alignment
    student, teacher = torch.from_numpy(alignment.student), torch.from_numpy(alignment.teacher)
    ways = Ways(*map(torch.from_numpy, alignment.ways)) if len(alignment.ways.own) else None
    barred = Barred(*map(torch.from_numpy, alignment.barred)) if len(alignment.barred.tokens) else None
    return AlignedTokens(Classes(student, teacher, alignment.count, ways, barred), window)
