"""Llama (arXiv:2302.13971) and Mistral (arXiv:2310.06825): rotary positions, RMS norms, gated SiLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, embedding
from torch.nn.functional import rms_norm, silu

from serve.engine.cache import Stored
from serve.engine.forward.attention import Rotary, attend
from serve.engine.forward.decoder import Decoder, Layer
from serve.engine.forward.heads import Heads
from serve.engine.forward.step import Step
from serve.engine.weights import Pack


class Llama(Decoder):
    """As `LlamaForCausalLM` and `MistralForCausalLM` compute it."""

    types: ClassVar = ("llama", "mistral")

    @classmethod
    def fits(cls, config: Any) -> bool:
        """Not where the rotary angles depend on the length."""
        if not super().fits(config):
            return False
        fixed = config.rope_parameters["rope_type"] in ("default", "linear", "llama3", "yarn")
        return bool(fixed and config.hidden_act == "silu")

    def shape(self) -> Heads:
        """See :class:`Decoder`."""
        config = self.config
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        window = getattr(config, "sliding_window", None)
        return Heads(int(config.num_attention_heads), int(config.num_key_value_heads), int(width), window)

    def build(self, model: Any, pack: Pack) -> Sequence[Layer]:
        """See :class:`Decoder`."""
        body = model.model
        self._tokens, self._weight = body.embed_tokens.weight.detach(), body.norm.weight.detach()
        rotary = Rotary(body.rotary_emb, self.context, self._tokens[:1])
        return [_Layer(layer, self.heads, rotary, float(self.config.rms_norm_eps), pack) for layer in body.layers]

    def embed(self, step: Step) -> Tensor:
        """See :class:`Decoder`."""
        return embedding(self._tokens, step.tokens)

    def norm(self, hidden_RD: Tensor) -> Tensor:
        """See :class:`Decoder`."""
        return rms_norm(hidden_RD, hidden_RD.shape[-1:], self._weight, float(self.config.rms_norm_eps))


class _Layer:
    def __init__(self, layer: Any, heads: Heads, rotary: Rotary, epsilon: float, pack: Pack) -> None:
        self._heads, self._rotary, self._epsilon = heads, rotary, epsilon
        self._norms = (layer.input_layernorm.weight.detach(), layer.post_attention_layernorm.weight.detach())
        attention, feed = layer.self_attn, layer.mlp
        self._project = pack(*joined(attention.q_proj, attention.k_proj, attention.v_proj))
        self._out = pack(attention.o_proj.weight, attention.o_proj.bias)
        self._gate, self._up = pack(*joined(feed.gate_proj, feed.up_proj)), int(feed.up_proj.weight.shape[0])
        self._down = pack(feed.down_proj.weight, feed.down_proj.bias)

    def __call__(self, states_ND: Tensor, stored: Stored, step: Step) -> Tensor:
        width = states_ND.shape[-1:]
        projected = self._project(rms_norm(states_ND, width, self._norms[0], self._epsilon))
        query_ND = turned(projected, self._rotary, self._heads, stored, step)
        states_ND = states_ND + self._out(attend(query_ND, stored, step, self._heads))
        both = self._gate(rms_norm(states_ND, width, self._norms[1], self._epsilon))
        return states_ND + self._down(silu(both[:, : self._up]) * both[:, self._up :])


def joined(*layers: Any) -> tuple[Tensor, Tensor | None]:
    """Linear layers of one input as one: weight [all outputs, inputs] and bias."""
    biases = [layer.bias for layer in layers]
    whole = None if any(bias is None for bias in biases) else torch.cat(biases)
    return torch.cat([layer.weight for layer in layers]), whole


def turned(projected: Tensor, rotary: Rotary, heads: Heads, stored: Stored, step: Step) -> Tensor:
    """Turn queries and keys, store keys and values; the queries [N, query heads × width].

    Args:
        projected: queries, keys and values beside one another, [N, (query heads + 2 key heads) × width].
        rotary, heads: how.
        stored: the layer's keys and values.
        step: says where each token stands, and where it goes.
    """
    angles = step.once(rotary, lambda: rotary.at(step.places))
    states = projected.view(len(projected), -1, heads.width)
    both = rotary.turn(states[:, : heads.queries + heads.keys], angles)
    kept = torch.cat((both[:, heads.queries :], states[:, heads.queries + heads.keys :]), dim=1)
    stored.rows.index_copy_(0, step.rows, kept.view(len(kept), -1))
    return both[:, : heads.queries].reshape(len(both), -1)
