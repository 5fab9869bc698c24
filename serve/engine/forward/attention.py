"""Attention over the slots: rows that decode together, pieces of prompts one by one; rotary positions."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from serve.engine.cache import Stored
from serve.engine.forward.heads import Heads
from serve.engine.forward.step import Piece, Step, whole
from serve.engine.options import BLOCK


def attend(query_ND: Tensor, stored: Stored, step: Step, heads: Heads) -> Tensor:
    """What each token reads from its slot, with its own key and value already there.

    Args:
        query_ND: queries of all heads.
        stored: this layer's keys and values.
        step: which tokens these are.
        heads: shape.

    Returns:
        [N, query heads × width].
    """
    rows = len(step.decoding)
    parts = [_decode(query_ND[:rows], stored, step, heads)] if rows else []
    before = rows
    for piece in step.prompts:
        length = len(piece.ids)
        parts.append(_read(query_ND[before : before + length], stored, piece, heads))
        before += length
    parts *= 1 + step.twin
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _decode(query_BD: Tensor, stored: Stored, step: Step, heads: Heads) -> Tensor:
    """One token a row. The query heads of a key head stand where several tokens would: nothing is copied for them."""
    rows, deepest = len(query_BD), step.deepest
    found = scaled_dot_product_attention(
        query_BD.view(rows, heads.keys, heads.shared, heads.width),
        stored.keys[:rows, :, :deepest],
        stored.values[:rows, :, :deepest],
        attn_mask=step.once(("mask", heads.window), lambda: _decoding_mask(step, stored, heads.window)),
    )
    return found.reshape(rows, -1)


def _decoding_mask(step: Step, stored: Stored, window: int | None) -> Tensor:
    """Added to the scores, [B, 1, 1, deepest]: slices of one ruler, as a mask that is made in each step costs more."""
    capacity = stored.keys.shape[2]
    ruler = _ruler(capacity, window, step.device)
    rows = [ruler[capacity - piece.end : capacity - piece.end + step.deepest] for piece in step.decoding]
    return torch.stack(rows)[:, None, None] if len(rows) > 1 else rows[0].view(1, 1, 1, -1)


@lru_cache(maxsize=64)
def _ruler(capacity: int, window: int | None, device: torch.device) -> Tensor:
    """2 × capacity: 0 for the last `window` places before its middle, −∞ elsewhere."""
    ruler = torch.full((2 * capacity,), float("-inf"), device=device)
    ruler[capacity - min(window or capacity, capacity) : capacity] = 0
    return ruler


def _read(query_TD: Tensor, stored: Stored, piece: Piece, heads: Heads) -> Tensor:
    """Consecutive tokens of one row, block by block from the row's first token on.

    How many queries are computed together changes how they round. In blocks, what a prompt's tokens read depends
    neither on how it was cut into pieces nor on how much of it was known.
    """
    length, blocks = len(query_TD), len(query_TD) // BLOCK
    cut = blocks * BLOCK
    parts = []
    if blocks:
        parts.append(_blocks(query_TD[:cut].view(blocks, BLOCK, -1), stored, piece, piece.start, heads))
    if cut < length:
        parts.append(_blocks(query_TD[None, cut:], stored, piece, piece.start + cut, heads))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _blocks(query_KTD: Tensor, stored: Stored, piece: Piece, start: int, heads: Heads) -> Tensor:
    """Blocks of as many tokens each, the first of them at `start`."""
    blocks, length, _ = query_KTD.shape
    end = whole(start + blocks * length)
    keys, values = (
        some[piece.slot, :, :end].repeat_interleave(heads.shared, 0).expand(blocks, -1, -1, -1)
        for some in (stored.keys, stored.values)
    )
    found = scaled_dot_product_attention(
        query_KTD.view(blocks, length, heads.queries, heads.width).transpose(1, 2),
        keys,
        values,
        attn_mask=_mask(start, blocks, length, end, heads.window, query_KTD.device),
    )
    return found.transpose(1, 2).reshape(blocks * length, -1)


def _mask(start: int, blocks: int, length: int, end: int, window: int | None, device: torch.device) -> Tensor:
    """What each token may see, bool [blocks, 1, length, end]."""
    own = torch.arange(start, start + blocks * length, device=device).view(blocks, 1, length, 1)
    others = torch.arange(end, device=device)
    seen = others <= own
    return seen if window is None else seen & (others > own - window)


class Rotary:
    """Rotary positions (arXiv:2104.09864), with the angles of the model's own module, computed once for the context."""

    def __init__(self, module: torch.nn.Module, context: int, like: Tensor) -> None:
        places = torch.arange(context, device=like.device)[None]
        cos, sin = module(like, places)
        self._cos, self._sin = cos[0], sin[0]
        self.width = int(cos.shape[-1])

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        """Cosines and sines of all places, fp32 [context, rotary width]."""
        return self._cos, self._sin

    def at(self, places_N: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [N, 1, rotary width] of some places."""
        return self._cos[places_N][:, None], self._sin[places_N][:, None]

    def turn(self, states_NHD: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Queries or keys, turned in their first `width` columns."""
        part = states_NHD[..., : self.width]
        half = self.width // 2
        swapped = torch.cat((-part[..., half:], part[..., :half]), dim=-1)
        turned = part * angles[0] + swapped * angles[1]
        if self.width == states_NHD.shape[-1]:
            return turned
        return torch.cat((turned, states_NHD[..., self.width :]), dim=-1)
