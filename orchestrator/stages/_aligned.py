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

    from orchestrator.classes import Classes
    from orchestrator.teacher import AlignedTokens

    if not isinstance(blocks, AlignedBlocks):
        return None

    def windows(rows_B2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = blocks.windows(rows_B2.numpy())
        return torch.from_numpy(found.ids), torch.from_numpy(found.places)

    alignment = blocks.alignment
    classes = Classes(torch.from_numpy(alignment.student), torch.from_numpy(alignment.teacher), alignment.count)
    return AlignedTokens(classes, windows)
