"""Beginnings of held-out text, for what models make of it: what stands beside the numbers in a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.special import special_tokens
from orchestrator.tokens.tokenizer import decode, load_tokenizer

_TOKENS = 24
"""Of a beginning, at most; half a context where that is less."""


def beginnings(blocks: TokenBlocks, language: str, count: int, samples: int, tokenizer: Path) -> list[str]:
    """Beginnings of some of a language's first `count` blocks, evenly spread; of a document where one begins there.

    Args:
        blocks: the packed split.
        language: of the blocks.
        count: blocks to choose from.
        samples: how many, or fewer where so few differ.
        tokenizer: folder of the blocks' tokenizer.
    """
    opened = load_tokenizer(tokenizer)
    special = special_tokens(tokenizer, opened)
    borders = {*special.begin, *special.end, *special.eos}
    found = []
    for index in np.unique(np.linspace(0, count - 1, samples).round().astype(int)):
        ids = [int(token) for token in blocks.block(language, int(index))]
        begins = next((place + 1 for place, token in enumerate(ids[:-_TOKENS]) if token in borders), 0)
        text = decode(opened, ids[begins : begins + min(_TOKENS, blocks.context // 2)])
        found.append(text.strip("\N{REPLACEMENT CHARACTER}"))
    return [text for text in dict.fromkeys(found) if text.strip()]
