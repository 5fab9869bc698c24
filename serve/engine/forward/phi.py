"""Phi (arXiv:2309.05463): attention and feed-forward in parallel from one norm, partly rotary positions."""

from __future__ import annotations

from typing import Any, ClassVar

from serve.engine.forward.attention import Rotary
from serve.engine.forward.block import Block, Body, Norm, joined
from serve.engine.forward.decoder import Decoder
from serve.engine.forward.heads import Heads
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

    def build(self, model: Any, pack: Pack) -> Body:
        """See :class:`Decoder`."""
        body, config = model.model, self.config
        count = int(config.num_attention_heads)
        heads = Heads(count, int(config.num_key_value_heads or count), config.hidden_size // count)
        tokens = body.embed_tokens.weight.detach()
        rotary = Rotary(body.rotary_emb, self.context, tokens[:1])
        blocks = [_block(layer, heads, rotary, pack) for layer in body.layers]
        return Body(heads, blocks, tokens, Norm.layer(body.final_layernorm))


def _block(layer: Any, heads: Heads, rotary: Rotary, pack: Pack) -> Block:
    attention, feed = layer.self_attn, layer.mlp
    return Block(
        heads,
        Norm.layer(layer.input_layernorm),
        None,
        project=pack(*joined(attention.q_proj, attention.k_proj, attention.v_proj)),
        out=pack(attention.dense.weight, attention.dense.bias),
        up=pack(feed.fc1.weight, feed.fc1.bias, "gelu_tanh"),
        down=pack(feed.fc2.weight, feed.fc2.bias),
        rotary=rotary,
    )
