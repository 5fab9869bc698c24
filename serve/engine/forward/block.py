"""A layer of a decoder-only transformer: norms, attention, feed-forward, as a family's file puts them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from serve.engine.cache import Stored
from serve.engine.forward.attention import Rotary, attend
from serve.engine.forward.heads import Heads
from serve.engine.forward.step import Step
from serve.engine.weights import Linear


@dataclass(frozen=True)
class Norm:
    """A norm without the ways of a module, which cost more than a small norm itself.

    Attributes:
        weight: [D]. bias: [D] or None. epsilon: added to the mean square.
        root_mean_square: RMS norm (arXiv:1910.07467): the mean stays.
    """

    weight: Tensor
    bias: Tensor | None
    epsilon: float
    root_mean_square: bool = False

    @classmethod
    def layer(cls, module: Any) -> Norm:
        """Of a `LayerNorm`."""
        return cls(module.weight.detach(), None if module.bias is None else module.bias.detach(), float(module.eps))

    def __call__(self, states_ND: Tensor) -> Tensor:
        """Normed, of the same shape."""
        width = states_ND.shape[-1:]
        if self.root_mean_square:
            return torch.rms_norm(states_ND, width, self.weight, self.epsilon)
        return torch.layer_norm(states_ND, width, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True)
class Block:
    """One layer.

    Attributes:
        heads: shape of the attention.
        first: norm before the attention.
        second: norm before the feed-forward; None: it reads what the attention reads, beside it.
        project: gives queries, keys and values beside one another, [N, (query heads + 2 key heads) × width].
        out: of the attention.
        up: into the feed-forward, activation included; gated, it gives what SiLU opens and what that lets through.
        down: out of it.
        gated: see `up`.
        rotary: turns queries and keys; None: positions are in the embedding.
    """

    heads: Heads
    first: Norm
    second: Norm | None
    project: Linear
    out: Linear
    up: Linear
    down: Linear
    gated: bool = False
    rotary: Rotary | None = None

    def __call__(self, states_ND: Tensor, stored: Stored, step: Step) -> Tensor:
        """New states [N, D]; the step's keys and values go to the layer's."""
        normed = self.first(states_ND)
        query_ND = self._store(self.project(normed), stored, step)
        read_ND = self.out(attend(query_ND, stored, step, self.heads))
        if self.second is None:
            return read_ND + self._feed(normed) + states_ND
        states_ND = states_ND + read_ND
        return states_ND + self._feed(self.second(states_ND))

    def _store(self, projected: Tensor, stored: Stored, step: Step) -> Tensor:
        """Keep keys and values; the queries [N, query heads × width]."""
        rotary, queries, width = self.rotary, self.heads.queries, self.heads.width
        if rotary is None:
            stored.rows.index_copy_(0, step.rows, projected[:, queries * width :])
            return projected[:, : queries * width]
        angles = step.once(rotary, lambda: rotary.at(step.places))
        states = projected.view(len(projected), -1, width)
        both = rotary.turn(states[:, : queries + self.heads.keys], angles)
        kept = torch.cat((both[:, queries:], states[:, queries + self.heads.keys :]), dim=1)
        stored.rows.index_copy_(0, step.rows, kept.view(len(kept), -1))
        return both[:, :queries].reshape(len(both), -1)

    def _feed(self, normed_ND: Tensor) -> Tensor:
        raised = self.up(normed_ND)
        if not self.gated:
            return self.down(raised)
        opening, through = raised.chunk(2, dim=-1)
        return self.down(silu(opening) * through)


@dataclass(frozen=True)
class Body:
    """What a family's file makes of a model.

    Attributes:
        heads: shape of the attention of every layer.
        blocks: the layers, of one form.
        tokens: embedding [V, D].
        last: norm before the head.
        places: embedding [context, D]; None: the blocks turn by places.
    """

    heads: Heads
    blocks: Sequence[Block]
    tokens: Tensor
    last: Norm
    places: Tensor | None = None


def joined(*layers: Any) -> tuple[Tensor, Tensor | None]:
    """Linear layers of one input as one: weight [all outputs, inputs] and bias."""
    biases = [layer.bias for layer in layers]
    whole = None if any(bias is None for bias in biases) else torch.cat(biases)
    return torch.cat([layer.weight for layer in layers]), whole
