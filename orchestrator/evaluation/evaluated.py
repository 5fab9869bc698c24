"""The blocks that models are evaluated on: how many, of which works, and for how many bytes of text they stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import CorpusError
from orchestrator.tokens.blocks import TokenBlocks


def block_counts(blocks: TokenBlocks, languages: tuple[str, ...], most: int | None) -> dict[str, int]:
    """Blocks to evaluate of each language.

    Raises:
        CorpusError: a language has none.
    """
    for language in languages:
        if not blocks.count(language):
            raise CorpusError(
                f"the {blocks.split} split of {language!r} is shorter than one block of {blocks.context} tokens",
                where=f"corpus.languages.{language}",
                fix="give that language more text, or set a smaller blocks.context",
            )
    return {language: min(blocks.count(language), most or blocks.count(language)) for language in languages}


def works_of(blocks: TokenBlocks, language: str, count: int) -> NDArray[np.int64]:
    """Numbers, from 0, of the works that the first `count` blocks of a language are of, int64 [count].

    Raises:
        ArtifactError: the blocks are damaged.
    """
    return np.unique(blocks.works(language)[:count], return_inverse=True)[1].astype(np.int64)


def block_bytes(blocks: TokenBlocks, language: str, count: int, byte_lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """UTF-8 bytes that the targets of each of the first `count` blocks stand for.

    Where the tokenizer changes text (a space in front, characters composed or replaced) these are bytes of the text as
    it was, in the proportion of the whole language: tokens alone don't say which of them were changed.

    Args:
        blocks: the packed split.
        language: of the blocks.
        count: how many.
        byte_lengths: int64 [V], bytes of each token's text, 0 for special tokens.

    Returns:
        int64 [count].
    """
    targets = (np.asarray(blocks.block(language, index))[1:] for index in range(count))
    spelled = np.fromiter((byte_lengths[ids].sum() for ids in targets), np.int64, count)
    share = blocks.text_share(language)
    return spelled if share == 1 else np.rint(spelled * share).astype(np.int64)
