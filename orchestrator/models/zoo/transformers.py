"""Any causal language model of the transformers library, by its configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.errors import ModelError
from orchestrator.models.zoo._base import Architecture, special_ids, with_positions
from orchestrator.plugins import suggest

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Transformers(Architecture):
    """A model type with random weights: ``{type: transformers, config: {model_type: llama, hidden_size: 256, …}}``."""

    plain_head: ClassVar[bool] = False
    config: dict[str, Any] = field(default_factory=dict)
    """`model_type` and keys of its configuration class, without vocabulary, context and special ids."""

    def __post_init__(self) -> None:
        if "model_type" not in self.config:
            raise ValueError("config needs a model_type (llama, qwen3, …)")

    def configuration(self, vocab_size: int, context: int) -> Any:
        """The configuration of that model type."""
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING, AutoConfig

        options = dict(self.config)
        kind = options.pop("model_type")
        if kind not in CONFIG_MAPPING:
            raise ModelError(
                f"transformers has no model type {kind!r}", where=_WHERE, fix=suggest(kind, CONFIG_MAPPING.keys())
            )
        plain = AutoConfig.for_model(kind)
        for key in options:
            if not hasattr(plain, key):
                known = plain.to_dict()
                raise ModelError(f"{kind} has no option {key!r}", where=_WHERE, fix=suggest(key, known))
        if hasattr(plain, "max_position_embeddings"):
            options["max_position_embeddings"] = context
        try:
            made = AutoConfig.for_model(kind, **{**options, **special_ids(), "vocab_size": vocab_size})
        except (TypeError, ValueError) as error:
            raise ModelError(f"{kind} does not take this configuration: {error}", where=_WHERE) from None
        return with_positions(made, context)

    def build(self, vocab_size: int, context: int) -> PreTrainedModel:
        """A model with fresh weights; refuses what is not a causal language model."""
        try:
            return super().build(vocab_size, context)
        except (TypeError, ValueError) as error:
            what = (
                f"{self.config['model_type']} can't be built as a causal language model: {str(error).splitlines()[0]}"
            )
            raise ModelError(what, where=_WHERE, fix="give a decoder's model_type and sizes that fit") from None


_WHERE = "models.zoo.transformers"
