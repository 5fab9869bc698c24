"""What all forward passes of ours share: tokens in, layers over the slots, logits of the wanted tokens out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from serve.engine.cache import Cache, SlotCache, Stored
from serve.engine.forward.heads import Heads
from serve.engine.forward.step import Step
from serve.engine.weights import Linear, Pack


class Forward(Protocol):
    """A model as the scheduler sees it.

    Attributes:
        context: longest row, in tokens.
        device: where it computes.
    """

    context: int
    device: torch.device

    def cache(self, slots: int) -> Cache:
        """Memory for so many rows."""

    def hidden(self, step: Step, cache: Any) -> Tensor:
        """Hidden states [R, D] of the wanted tokens, after the final norm; keys and values of all go to the cache."""

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """[R, V], of which the ids beyond the tokenizer's mean nothing."""


def norm_of(module: Any) -> Callable[[Tensor], Tensor]:
    """A layer norm without the ways of a module, which cost more than a small norm itself."""
    shape, weight, bias, epsilon = module.normalized_shape, module.weight, module.bias, module.eps
    parts = [None if part is None else part.detach() for part in (weight, bias)]
    return lambda states: torch.layer_norm(states, shape, parts[0], parts[1], epsilon)


Layer = Callable[[Tensor, Stored, Step], Tensor]
"""States [N, D], the layer's keys and values, the step: new states [N, D], this step's keys and values stored."""


class Decoder(ABC):
    """A decoder-only transformer over slots. A family says how it embeds, what a layer is, and its norm.

    Args:
        model: of transformers, in evaluation mode; its weights are packed, and it may be dropped then.
        pack: makes a product with a weight.
    """

    types: ClassVar[tuple[str, ...]]
    """What a configuration calls the models that it computes (`model_type`)."""

    def __init__(self, model: Any, pack: Pack) -> None:
        self.config = model.config
        self.device: torch.device = model.device
        self.context = int(model.config.max_position_embeddings)
        self.heads = self.shape()
        self.layers = self.build(model, pack)
        head = model.get_output_embeddings()
        self._head: Linear = pack(head.weight, getattr(head, "bias", None))

    @classmethod
    def fits(cls, config: Any) -> bool:
        """Whether it computes what transformers computes for this configuration."""
        return config.model_type in cls.types

    @abstractmethod
    def shape(self) -> Heads:
        """Of the attention."""

    @abstractmethod
    def build(self, model: Any, pack: Pack) -> Sequence[Layer]:
        """Take the weights of the embedding and the norm, and pack those of the layers."""

    @abstractmethod
    def embed(self, step: Step) -> Tensor:
        """[N, D]."""

    @abstractmethod
    def norm(self, hidden_RD: Tensor) -> Tensor:
        """The final one."""

    def cache(self, slots: int) -> SlotCache:
        """See :class:`Forward`."""
        return SlotCache(len(self.layers), slots, self.context, self.heads.keys, self.heads.width, self.device)

    def hidden(self, step: Step, cache: SlotCache) -> Tensor:
        """See :class:`Forward`."""
        step.place(cache.capacity)
        states_ND = self.embed(step)
        for layer, stored in zip(self.layers, cache.layers, strict=True):
            states_ND = layer(states_ND, stored, step)
        if step.twin:
            states_ND = states_ND[:1]
        return self.norm(states_ND if step.wanted is None else states_ND[step.wanted])

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """See :class:`Forward`. One row is computed twice, see :attr:`Step.twin`."""
        if len(hidden_RD) > 1:
            return self._head(hidden_RD)
        return self._head(torch.cat((hidden_RD, hidden_RD)))[:1]
