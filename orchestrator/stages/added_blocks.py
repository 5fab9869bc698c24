"""Stage: one language's text, packed into blocks beside those of a mixture that exists."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orchestrator.errors import CorpusError
from orchestrator.stages.blocks import BlocksStage
from orchestrator.tokens.balance import packed_tokens


class AddedBlocksStage(BlocksStage):
    """As :class:`orchestrator.stages.blocks.BlocksStage`, with as many tokens as the mixture's languages have, or all
    there are: what exists is not cut to balance a language with less text.
    """

    most: dict[str, int]
    """Split -> tokens to take, at most."""

    def _target(self, split: str, lengths: Mapping[str, np.ndarray], delimiters: int) -> int:
        return min(self.most[split], *(packed_tokens(each, delimiters) for each in lengths.values()))

    def _too_short(self, split: str, lengths: Mapping[str, np.ndarray], shortest: int) -> CorpusError:
        languages = ", ".join(lengths)
        return CorpusError(
            f"the {split} text of {languages} has {shortest:,} tokens, and a block of the mixture's context "
            f"takes {self.blocks.context + 1:,}",
            where=f"corpus.languages.{languages}",
            fix=f"give {languages} more text" + ("" if split == "train" else f", or raise corpus.splits.{split}"),
        )
