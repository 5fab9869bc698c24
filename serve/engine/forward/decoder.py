"""What all forward passes of ours share: tokens in, layers over the slots, logits of the wanted tokens out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, embedding

from serve.engine.cache import Cache, SlotCache
from serve.engine.forward.block import Body
from serve.engine.forward.native import stepper_for
from serve.engine.forward.step import Step
from serve.engine.weights import Linear, Pack


class Forward(Protocol):
    """A model as the scheduler sees it.

    Attributes:
        context: longest row, in tokens.
        device: where it computes.
        reads_as_it_decodes: whether a token gets the same, to the last bit, among a prompt's and as the next one.
    """

    context: int
    device: torch.device

    @property
    def reads_as_it_decodes(self) -> bool:
        """See above."""

    def cache(self, slots: int) -> Cache:
        """Memory for so many rows."""

    def hidden(self, step: Step, cache: Any) -> Tensor:
        """Hidden states [R, D] of the wanted tokens, after the final norm; keys and values of all go to the cache."""

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """[R, V], of which the ids beyond the tokenizer's mean nothing."""


class Decoder(ABC):
    """A decoder-only transformer over slots. A family says what it is made of.

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
        self._body = self.build(model, pack)
        self._stepper = stepper_for(self._body)
        head = model.get_output_embeddings()
        self._head: Linear = pack(head.weight, getattr(head, "bias", None))

    @classmethod
    def fits(cls, config: Any) -> bool:
        """Whether it computes what transformers computes for this configuration."""
        return config.model_type in cls.types

    @abstractmethod
    def build(self, model: Any, pack: Pack) -> Body:
        """Take the weights of embeddings and norms, and pack those of the layers."""

    @property
    def reads_as_it_decodes(self) -> bool:
        """See :class:`Forward`."""
        return self._stepper is not None

    def cache(self, slots: int) -> SlotCache:
        """See :class:`Forward`."""
        heads = self._body.heads
        return SlotCache(len(self._body.blocks), slots, self.context, heads.keys, heads.width, self.device)

    def hidden(self, step: Step, cache: SlotCache) -> Tensor:
        """See :class:`Forward`."""
        if self._stepper is not None:
            return self._stepper(step, cache)
        step.place(cache.capacity)
        states_ND = embedding(self._body.tokens, step.tokens)
        if self._body.places is not None:
            states_ND = states_ND + embedding(self._body.places, step.places)
        for block, stored in zip(self._body.blocks, cache.layers, strict=True):
            states_ND = block(states_ND, stored, step)
        if step.twin:
            states_ND = states_ND[:1]
        return self._body.last(states_ND if step.wanted is None else states_ND[step.wanted])

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """See :class:`Forward`. Without a kernel of our own one row is computed twice, see :attr:`Step.twin`."""
        if len(hidden_RD) > 1 or self._stepper is not None:
            return self._head(hidden_RD)
        return self._head(torch.cat((hidden_RD, hidden_RD)))[:1]
