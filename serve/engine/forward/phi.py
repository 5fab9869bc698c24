"""Phi (arXiv:2309.05463): attention and feed-forward in parallel from one norm, partly rotary positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, embedding

from serve.engine.cache import Stored
from serve.engine.forward.attention import Rotary, attend
from serve.engine.forward.decoder import Decoder, Layer, norm_of
from serve.engine.forward.heads import Heads
from serve.engine.forward.llama import joined, turned
from serve.engine.forward.step import Step
from serve.engine.weights import Pack


class Phi(Decoder):
    """As `PhiForCausalLM` computes it."""

    types: ClassVar = ("phi",)

    @classmethod
    def fits(cls, config: Any) -> bool:
        """Not with norms of queries and keys, or rotary angles that depend on the length."""
        if not super().fits(config):
            return False
        plain = not config.qk_layernorm and config.rope_parameters["rope_type"] == "default"
        return bool(plain and config.hidden_act == "gelu_new")

    def shape(self) -> Heads:
        """See :class:`Decoder`."""
        config = self.config
        heads = int(config.num_attention_heads)
        return Heads(heads, int(config.num_key_value_heads or heads), config.hidden_size // heads)

    def build(self, model: Any, pack: Pack) -> Sequence[Layer]:
        """See :class:`Decoder`."""
        body = model.model
        self._tokens, self._norm = body.embed_tokens.weight.detach(), norm_of(body.final_layernorm)
        rotary = Rotary(body.rotary_emb, self.context, self._tokens[:1])
        return [_Layer(layer, self.heads, rotary, pack) for layer in body.layers]

    def embed(self, step: Step) -> Tensor:
        """See :class:`Decoder`."""
        return embedding(self._tokens, step.tokens)

    def norm(self, hidden_RD: Tensor) -> Tensor:
        """See :class:`Decoder`."""
        return self._norm(hidden_RD)


class _Layer:
    def __init__(self, layer: Any, heads: Heads, rotary: Rotary, pack: Pack) -> None:
        self._heads, self._rotary = heads, rotary
        self._norm = norm_of(layer.input_layernorm)
        attention, feed = layer.self_attn, layer.mlp
        self._project = pack(*joined(attention.q_proj, attention.k_proj, attention.v_proj))
        self._out = pack(attention.dense.weight, attention.dense.bias)
        self._up = pack(feed.fc1.weight, feed.fc1.bias, "gelu_tanh")
        self._down = pack(feed.fc2.weight, feed.fc2.bias)

    def __call__(self, states_ND: Tensor, stored: Stored, step: Step) -> Tensor:
        normed = self._norm(states_ND)
        query_ND = turned(self._project(normed), self._rotary, self._heads, stored, step)
        read = self._out(attend(query_ND, stored, step, self._heads))
        return read + self._down(self._up(normed)) + states_ND
