"""What one step computes: the next token of some rows, and pieces of other rows' prompts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from serve.engine.options import BLOCK

Made = TypeVar("Made")


def whole(tokens: int) -> int:
    """So many tokens in whole blocks."""
    return -(-tokens // BLOCK) * BLOCK


@dataclass(frozen=True)
class Piece:
    """Consecutive tokens of one row, whose earlier ones are in the slot.

    Attributes:
        slot: of the row.
        start: place of the first token.
        ids: the tokens.
        every: logits are wanted after each token, not after the last one alone.
        last: whether logits are wanted after the last one.
        common: whether a common expert has its part in them.
        shares: of each expert, where the model mixes several.
    """

    slot: int
    start: int
    ids: Sequence[int]
    every: bool = False
    last: bool = True
    common: bool = True
    shares: Sequence[float] | None = None

    @property
    def end(self) -> int:
        """Place after the last token."""
        return self.start + len(self.ids)

    @property
    def wanted(self) -> int:
        """How many logits are wanted."""
        return len(self.ids) if self.every else int(self.last)


@dataclass(frozen=True)
class Step:
    """Tokens of a step: first those of rows that decode, one each and in slots 0, 1, …, then the pieces of prompts.

    Attributes:
        decoding: pieces of one token, of slots 0, 1, …; of several, where they come out the same so.
        prompts: other pieces.
        device: where to compute.
    """

    decoding: Sequence[Piece]
    prompts: Sequence[Piece]
    device: torch.device
    _made: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        """Tokens that the fullest slot holds after this step."""
        return max(piece.end for piece in (*self.decoding, *self.prompts))

    def place(self, capacity: int) -> None:
        """Say how many tokens a slot of the cache holds, which :attr:`rows` depends on."""
        if self._made.get("capacity") != capacity:
            tokens, places, rows = list[int](), list[int](), list[int]()
            for piece in self._pieces:
                tokens += piece.ids
                places += range(piece.start, piece.end)
                rows += range(piece.slot * capacity + piece.start, piece.slot * capacity + piece.end)
            count = 1 + self.twin
            self._made["tensors"] = self._tensor([tokens * count, places * count, rows * count]).unbind()
            self._made["capacity"] = capacity

    @property
    def tokens(self) -> Tensor:
        """Token ids, int64 [N]."""
        return self._placed(0)

    @property
    def places(self) -> Tensor:
        """Each token's place in its row, int64 [N]."""
        return self._placed(1)

    @property
    def rows(self) -> Tensor:
        """Where each token's keys and values go in a layer's rows, int64 [N]."""
        return self._placed(2)

    @cached_property
    def twin(self) -> bool:
        """Whether there is one token alone. It is computed twice.

        Products of one row round otherwise than of several, and an answer is not to depend on whether there are others.
        """
        return sum(len(piece.ids) for piece in self._pieces) == 1

    @cached_property
    def wanted(self) -> Tensor | None:
        """Which tokens' logits are wanted, int64 [R]; None: all."""
        wanted, before = list[int](), 0
        for piece in self._pieces:
            before += len(piece.ids)
            wanted += range(before - piece.wanted, before)
        return None if len(wanted) == before else self._tensor(wanted)

    @cached_property
    def alone(self) -> Tensor | None:
        """Which wanted tokens are computed without the common expert, bool [R, 1]; None: none."""
        if all(piece.common for piece in self._pieces):
            return None
        alone = [[not piece.common] for piece in self._pieces for _ in range(piece.wanted)]
        return torch.tensor(alone, dtype=torch.bool, device=self.device).view(-1, 1)

    @cached_property
    def shares(self) -> Tensor:
        """Of each expert in each wanted token's logits, fp32 [R, experts]."""
        shares = [piece.shares for piece in self._pieces for _ in range(piece.wanted)]
        return torch.tensor(shares, dtype=torch.float32, device=self.device)

    @cached_property
    def deepest(self) -> int:
        """Tokens of the fullest slot among those that decode, in whole blocks."""
        return whole(max(piece.end for piece in self.decoding))

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What every layer of a step needs again."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    def _placed(self, which: int) -> Tensor:
        found: Tensor = self._made["tensors"][which]
        return found

    @cached_property
    def _pieces(self) -> Sequence[Piece]:
        return (*self.decoding, *self.prompts)

    def _tensor(self, values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)
