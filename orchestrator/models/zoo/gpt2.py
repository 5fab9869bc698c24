"""GPT-2 of any size (Radford et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.models.zoo._base import Architecture, Count, Probability, check_heads, special_ids


@dataclass(frozen=True)
class GPT2(Architecture):
    """GPT-2: learned positions, pre-norm, GELU, feed-forward of four times the width."""

    layers: Count = 12
    """Number of transformer blocks."""
    width: Count = 768
    """Width of the residual stream."""
    heads: Count = 12
    """Number of attention heads; must divide the width."""
    dropout: Probability = 0.0
    """Probability of dropout on embeddings, attention and residuals."""
    tie: bool = True
    """Whether the head shares the weights of the embedding."""

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)

    def configuration(self, vocab_size: int, context: int) -> Any:
        """A `GPT2Config`."""
        from transformers import GPT2Config

        return GPT2Config(
            vocab_size=vocab_size,
            n_positions=context,
            n_layer=self.layers,
            n_embd=self.width,
            n_head=self.heads,
            resid_pdrop=self.dropout,
            embd_pdrop=self.dropout,
            attn_pdrop=self.dropout,
            tie_word_embeddings=self.tie,
            **special_ids(),
        )
