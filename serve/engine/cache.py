"""Keys and values of all slots in one block of memory, written in place; a slot is a row of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from serve.engine.options import BLOCK

_SMALLEST = 64


class Cache(Protocol):
    """What the scheduler asks of a forward pass's memory."""

    def reserve(self, length: int) -> None:
        """Make room for `length` tokens in every slot."""

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a slot to another."""

    def read(self, slot: int, start: int, end: int) -> Sequence[Tensor] | None:
        """A copy of the keys and values of some tokens; None: this cache can't tell."""

    def write(self, slot: int, start: int, kept: Sequence[Tensor]) -> None:
        """Put back what :meth:`read` gave."""

    def clear(self, slot: int) -> None:
        """Leave nothing in a slot that masked attention could multiply by zero and keep: no infinity, no NaN."""


class Stored(NamedTuple):
    """One layer's memory, seen in three ways.

    Attributes:
        rows: all tokens as rows, to write: [slots × capacity, 2 × heads × head width].
        keys, values: to read: [slots, heads, capacity, head width].
    """

    rows: Tensor
    keys: Tensor
    values: Tensor


class SlotCache:
    """Keys and values [layers, slots, capacity, 2, key-value heads, head width].

    The capacity doubles up to the context, so short answers touch little memory. Unwritten places are zero: masked
    attention multiplies them by zero, which would keep a NaN.

    Attributes:
        layers: of each layer.
        capacity: tokens of a slot, in whole blocks.
        context: tokens that the model has places for.
    """

    def __init__(self, layers: int, slots: int, context: int, heads: int, width: int, device: torch.device) -> None:
        self._shape, self.context, self._device = (layers, slots, heads, width), context, device
        self.memory, self.capacity = torch.empty(0), 0
        self.reserve(1)

    def reserve(self, length: int) -> None:
        """See :class:`Cache`."""
        if length <= self.capacity:
            return
        layers, slots, heads, width = self._shape
        wanted = min(self.context, max(length, 2 * self.capacity, _SMALLEST))
        capacity = -(-wanted // BLOCK) * BLOCK  # attention reads whole blocks
        grown = torch.zeros(layers, slots, capacity, 2, heads, width, device=self._device)
        if self.capacity:
            grown[:, :, : self.capacity] = self.memory
        self.memory, self.capacity = grown, capacity
        views = grown.permute(0, 3, 1, 4, 2, 5)  # layer, key or value, slot, head, token, head width
        self.layers = [
            Stored(rows, *both) for rows, both in zip(grown.view(layers, slots * capacity, -1), views, strict=True)
        ]

    def move(self, source: int, target: int, length: int) -> None:
        """See :class:`Cache`."""
        self.memory[:, target, :length] = self.memory[:, source, :length]

    def read(self, slot: int, start: int, end: int) -> list[Tensor]:
        """See :class:`Cache`."""
        return [self.memory[:, slot, start:end].clone()]

    def write(self, slot: int, start: int, kept: Sequence[Tensor]) -> None:
        """See :class:`Cache`."""
        self.memory[:, slot, start : start + kept[0].shape[1]] = kept[0]

    def clear(self, slot: int) -> None:
        """See :class:`Cache`."""
        self.memory[:, slot] = 0


class Caches:
    """The caches of several models that compute the same tokens."""

    def __init__(self, parts: Sequence[Cache]) -> None:
        self.parts = parts
        self._tensors: list[int] = []

    def reserve(self, length: int) -> None:
        """See :class:`Cache`."""
        for part in self.parts:
            part.reserve(length)

    def move(self, source: int, target: int, length: int) -> None:
        """See :class:`Cache`."""
        for part in self.parts:
            part.move(source, target, length)

    def read(self, slot: int, start: int, end: int) -> list[Tensor] | None:
        """See :class:`Cache`."""
        found = [part.read(slot, start, end) for part in self.parts]
        self._tensors = [0 if each is None else len(each) for each in found]
        return [tensor for each in found for tensor in each or ()] if all(self._tensors) else None

    def write(self, slot: int, start: int, kept: Sequence[Tensor]) -> None:
        """See :class:`Cache`."""
        left = iter(kept)
        for part, tensors in zip(self.parts, self._tensors, strict=True):
            part.write(slot, start, list(islice(left, tensors)))

    def clear(self, slot: int) -> None:
        """See :class:`Cache`."""
        for part in self.parts:
            part.clear(slot)
