"""Llama (arXiv:2302.13971) and Mistral (arXiv:2310.06825): rotary positions, RMS norms, gated SiLU."""

from __future__ import annotations

from typing import Any, ClassVar

from serve.engine.forward.attention import Rotary
from serve.engine.forward.block import Block, Body, Norm, joined
from serve.engine.forward.decoder import Decoder
from serve.engine.forward.heads import Heads
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

    def build(self, model: Any, pack: Pack) -> Body:
        """See :class:`Decoder`."""
        body, config = model.model, self.config
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        window = getattr(config, "sliding_window", None)
        heads = Heads(int(config.num_attention_heads), int(config.num_key_value_heads), int(width), window)
        tokens = body.embed_tokens.weight.detach()
        rotary = Rotary(body.rotary_emb, self.context, tokens[:1])
        blocks = [self._block(layer, heads, rotary, pack) for layer in body.layers]
        return Body(heads, blocks, tokens, self._norm(body.norm))

    def _block(self, layer: Any, heads: Heads, rotary: Rotary, pack: Pack) -> Block:
        attention, feed = layer.self_attn, layer.mlp
        return Block(
            heads,
            self._norm(layer.input_layernorm),
            self._norm(layer.post_attention_layernorm),
            project=pack(*joined(attention.q_proj, attention.k_proj, attention.v_proj)),
            out=pack(attention.o_proj.weight, attention.o_proj.bias),
            up=pack(*joined(feed.gate_proj, feed.up_proj)),
            down=pack(feed.down_proj.weight, feed.down_proj.bias),
            gated=True,
            rotary=rotary,
        )

    def _norm(self, module: Any) -> Norm:
        return Norm(module.weight.detach(), None, float(self.config.rms_norm_eps), root_mean_square=True)
