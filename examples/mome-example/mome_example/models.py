"""An architecture for teacher, experts and students."""

from dataclasses import dataclass
from typing import Any

from orchestrator.models.zoo import Architecture


@dataclass(frozen=True)
class Llama(Architecture):
    """Llama of any size, with embedding and head apart."""

    layers: int = 2
    """Number of transformer blocks."""
    width: int = 32
    """Width of the residual stream."""
    heads: int = 2
    """Number of attention heads; must divide the width."""

    def configuration(self, vocab_size: int, context: int) -> Any:
        """A `LlamaConfig`; its special tokens are those of every tokenizer of the project."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=vocab_size,
            max_position_embeddings=context,
            num_hidden_layers=self.layers,
            hidden_size=self.width,
            num_attention_heads=self.heads,
            intermediate_size=4 * self.width,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=None,  # another would keep its embedding from learning
        )
