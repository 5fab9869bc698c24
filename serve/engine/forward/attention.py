"""Attention over the slots: rows that decode together, pieces of prompts one by one; rotary positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from serve.engine.cache import Stored
from serve.engine.forward.step import Piece, Step


@dataclass(frozen=True)
class Heads:
    """Shape of an attention.

    Attributes:
        queries, keys: numbers of heads; each key head serves the same number of query heads.
        width: of a head.
        window: how many last tokens a token sees, itself included; None: all.
    """

    queries: int
    keys: int
    width: int
    window: int | None = None

    @property
    def shared(self) -> int:
        """Query heads of a key head."""
        return self.queries // self.keys


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
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _decode(query_BD: Tensor, stored: Stored, step: Step, heads: Heads) -> Tensor:
    """One token a row. The query heads of a key head stand where several tokens would: nothing is copied for them."""
    rows, deepest = len(query_BD), step.deepest
    found = scaled_dot_product_attention(
        query_BD.view(rows, heads.keys, heads.shared, heads.width),
        stored.keys[:rows, :, :deepest],
        stored.values[:rows, :, :deepest],
        attn_mask=step.decoding_mask(heads.window),
    )
    return found.reshape(rows, -1)


def _read(query_TD: Tensor, stored: Stored, piece: Piece, heads: Heads) -> Tensor:
    """Consecutive tokens of one row."""
    length = len(query_TD)
    causal = piece.start == 0 and (heads.window is None or piece.end <= heads.window)
    keys, values = (
        some[piece.slot, None, :, : piece.end].repeat_interleave(heads.shared, 1) if heads.shared > 1
        else some[piece.slot, None, :, : piece.end]
        for some in (stored.keys, stored.values)
    )  # fmt: skip
    found = scaled_dot_product_attention(
        query_TD.view(1, length, heads.queries, heads.width).transpose(1, 2),
        keys,
        values,
        attn_mask=None if causal else _mask(piece, heads.window, query_TD.device),
        is_causal=causal,
    )
    return found.transpose(1, 2).reshape(length, -1)


def _mask(piece: Piece, window: int | None, device: torch.device) -> Tensor:
    """What each token may see, bool [T, end]."""
    own = torch.arange(piece.start, piece.end, device=device)[:, None]
    others = torch.arange(piece.end, device=device)
    seen = others <= own
    return seen if window is None else seen & (others > own - window)


class Rotary:
    """Rotary positions (arXiv:2104.09864), with the angles of the model's own module, computed once for the context."""

    def __init__(self, module: torch.nn.Module, context: int, like: Tensor) -> None:
        places = torch.arange(context, device=like.device)[None]
        cos, sin = module(like, places)
        self._cos, self._sin = cos[0], sin[0]
        self.width = int(cos.shape[-1])

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
