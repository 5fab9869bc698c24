"""Keys and values of beginnings that prompts share, so that a beginning is computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from serve.engine.cache import Cache
from serve.engine.options import BLOCK

Key = tuple[int, ...]


class PrefixCache:
    """Blocks by all the tokens up to their end, the least recently used dropped first.

    Args:
        tokens: how many tokens to keep at most.
    """

    def __init__(self, tokens: int) -> None:
        self._most = tokens // BLOCK
        self._blocks: OrderedDict[Key, Sequence[Tensor]] = OrderedDict()

    def known(self, ids: Sequence[int]) -> int:
        """How many first tokens of `ids` are there, the last one apart: that one is computed for its logits."""
        end = 0
        while end + BLOCK < len(ids) and tuple(ids[: end + BLOCK]) in self._blocks:
            end += BLOCK
        return end

    def fill(self, ids: Sequence[int], cache: Cache, slot: int) -> int:
        """Write what is known of `ids` into a slot; how many tokens that are."""
        end = self.known(ids)
        for start in range(0, end, BLOCK):
            key = tuple(ids[: start + BLOCK])
            self._blocks.move_to_end(key)
            cache.write(slot, start, self._blocks[key])
        return end

    def keep(self, ids: Sequence[int], cache: Cache, slot: int) -> None:
        """Remember the whole blocks of `ids`, which the slot holds."""
        for end in range(BLOCK, min(len(ids), self._most * BLOCK) + 1, BLOCK):
            key = tuple(ids[:end])
            if key not in self._blocks:
                if (block := cache.read(slot, end - BLOCK, end)) is None:
                    return
                self._blocks[key] = block
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
