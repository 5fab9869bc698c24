"""Mistral of any size (arXiv:2310.06825)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.models.zoo._base import Architecture, Count, check_heads, special_ids


@dataclass(frozen=True)
class Mistral(Architecture):
    """Mistral: rotary positions, RMS norm, gated SiLU, grouped key-value heads; attention over the whole context."""

    layers: Count = 12
    """Number of transformer blocks."""
    width: Count = 768
    """Width of the residual stream."""
    heads: Count = 12
    """Number of attention heads; must divide the width."""
    kv_heads: Count = 4
    """Number of key-value heads; must divide the heads."""
    feed_forward: Count = 2048
    """Width of the gated layer."""
    tie: bool = False
    """Whether the head shares the weights of the embedding."""

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads, self.kv_heads)

    def configuration(self, vocab_size: int, context: int) -> Any:
        """A `MistralConfig`."""
        from transformers import MistralConfig

        return MistralConfig(
            vocab_size=vocab_size,
            max_position_embeddings=context,
            num_hidden_layers=self.layers,
            hidden_size=self.width,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            intermediate_size=self.feed_forward,
            sliding_window=None,
            tie_word_embeddings=self.tie,
            **special_ids(),
        )
