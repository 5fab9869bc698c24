"""GPT-2 (Radford et al. 2019): learned positions, fused projections, norms before attention and feed-forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, embedding

from serve.engine.cache import Stored
from serve.engine.forward.attention import attend
from serve.engine.forward.decoder import Decoder, Layer, norm_of
from serve.engine.forward.heads import Heads
from serve.engine.forward.step import Step
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

    def shape(self) -> Heads:
        """See :class:`Decoder`."""
        heads = int(self.config.n_head)
        return Heads(heads, heads, self.config.n_embd // heads)

    def build(self, model: Any, pack: Pack) -> Sequence[Layer]:
        """See :class:`Decoder`."""
        body = model.transformer
        self._tokens, self._places = body.wte.weight.detach(), body.wpe.weight.detach()
        self._norm = norm_of(body.ln_f)
        return [_Layer(block, self.heads, pack) for block in body.h]

    def embed(self, step: Step) -> Tensor:
        """See :class:`Decoder`."""
        return embedding(self._tokens, step.tokens) + embedding(self._places, step.places)

    def norm(self, hidden_RD: Tensor) -> Tensor:
        """See :class:`Decoder`."""
        return self._norm(hidden_RD)


class _Layer:
    def __init__(self, block: Any, heads: Heads, pack: Pack) -> None:
        self._heads, self._width = heads, heads.queries * heads.width
        self._norms = (norm_of(block.ln_1), norm_of(block.ln_2))
        # Its matrices are stored transposed, as Conv1D wants them.
        self._project = pack(block.attn.c_attn.weight.T, block.attn.c_attn.bias)
        self._out = pack(block.attn.c_proj.weight.T, block.attn.c_proj.bias)
        self._up = pack(block.mlp.c_fc.weight.T, block.mlp.c_fc.bias, "gelu_tanh")
        self._down = pack(block.mlp.c_proj.weight.T, block.mlp.c_proj.bias)

    def __call__(self, states_ND: Tensor, stored: Stored, step: Step) -> Tensor:
        projected = self._project(self._norms[0](states_ND))
        stored.rows.index_copy_(0, step.rows, projected[:, self._width :])
        states_ND = states_ND + self._out(attend(projected[:, : self._width], stored, step, self._heads))
        return states_ND + self._down(self._up(self._norms[1](states_ND)))
