"""Phi-1.5 of any size (arXiv:2309.05463)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.models.zoo._base import Architecture, Count, Probability, check_heads, special_ids


@dataclass(frozen=True)
class Phi(Architecture):
    """Phi: attention and feed-forward in parallel, partly rotary positions, head with a bias."""

    layers: Count = 12
    """Number of transformer blocks."""
    width: Count = 768
    """Width of the residual stream."""
    heads: Count = 12
    """Number of attention heads; must divide the width."""
    feed_forward: Count | None = None
    """Width of the feed-forward layer; null: four times `width`."""
    dropout: Probability = 0.0
    """Probability of dropout on embeddings, attention and residuals."""

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)

    def configuration(self, vocab_size: int, context: int) -> Any:
        """A `PhiConfig`."""
        from transformers import PhiConfig

        return PhiConfig(
            vocab_size=vocab_size,
            max_position_embeddings=context,
            num_hidden_layers=self.layers,
            hidden_size=self.width,
            num_attention_heads=self.heads,
            intermediate_size=self.feed_forward or 4 * self.width,
            resid_pdrop=self.dropout,
            embd_pdrop=self.dropout,
            attention_dropout=self.dropout,
            **special_ids(),
        )
