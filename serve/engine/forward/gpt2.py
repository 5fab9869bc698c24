"""GPT-2 (Radford et al. 2019): learned positions, fused projections, norms before attention and feed-forward."""

from __future__ import annotations

from typing import Any, ClassVar

from serve.engine.forward.block import Block, Body, Norm
from serve.engine.forward.decoder import Decoder
from serve.engine.forward.heads import Heads
from serve.engine.weights import Pack


class GPT2(Decoder):
    """As `GPT2LMHeadModel` computes it."""

    types: ClassVar = ("gpt2",)

    @classmethod
    def fits(cls, config: Any) -> bool:
        """Not with attention scaled by the layer, or unscaled: nobody has such experts."""
        if not super().fits(config):
            return False
        plain = config.scale_attn_weights and not config.scale_attn_by_inverse_layer_idx
        return bool(plain and config.activation_function == "gelu_new")

    def build(self, model: Any, pack: Pack) -> Body:
        """See :class:`Decoder`."""
        body, count = model.transformer, int(self.config.n_head)
        heads = Heads(count, count, self.config.n_embd // count)
        blocks = [_block(block, heads, pack) for block in body.h]
        return Body(heads, blocks, body.wte.weight.detach(), Norm.layer(body.ln_f), body.wpe.weight.detach())


def _block(block: Any, heads: Heads, pack: Pack) -> Block:
    return Block(
        heads,
        Norm.layer(block.ln_1),
        Norm.layer(block.ln_2),
        # Its matrices are stored transposed, as Conv1D wants them.
        project=pack(block.attn.c_attn.weight.T, block.attn.c_attn.bias),
        out=pack(block.attn.c_proj.weight.T, block.attn.c_proj.bias),
        up=pack(block.mlp.c_fc.weight.T, block.mlp.c_fc.bias, "gelu_tanh"),
        down=pack(block.mlp.c_proj.weight.T, block.mlp.c_proj.bias),
    )
