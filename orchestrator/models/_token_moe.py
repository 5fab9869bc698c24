"""A causal language model whose feed-forwards are MoE layers, as transformers sees it.

Importing this registers the model type with transformers' Auto classes in this process, so that folders of such models
open without code of their own (`trust_remote_code` stays off).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel

from orchestrator.errors import ModelError
from orchestrator.models.moe import MoELayer

FEED_FORWARD = "mlp"
"""What GPT-2, Mistral, Phi, Llama, Qwen and most others call a layer's feed-forward."""


class TokenMoEConfig(PretrainedConfig):  # type: ignore[misc]
    """Configuration of the base model, and of its MoE layers."""

    model_type: ClassVar[str] = "mome-token-moe"

    def __init__(
        self,
        base: Mapping[str, Any] | None = None,
        experts: int = 4,
        top: int = 2,
        balance: float = 0.01,
        **options: Any,
    ) -> None:
        self.base = dict(base or {"model_type": "gpt2"})  # transformers builds a default one now and then
        self.experts, self.top, self.balance = experts, top, balance
        super().__init__(**options)

    @property
    def base_config(self) -> Any:
        """The base model's configuration, of its own class."""
        return AutoConfig.for_model(**self.base)

    @property
    def vocab_size(self) -> int:
        """The base's."""
        return int(self.base_config.vocab_size)

    @property
    def hidden_size(self) -> int:
        """The base's."""
        return int(self.base_config.hidden_size)

    @property
    def num_hidden_layers(self) -> int:
        """The base's."""
        return int(self.base_config.num_hidden_layers)

    @property
    def max_position_embeddings(self) -> int | None:
        """The base's; None where it has no limit."""
        return getattr(self.base_config, "max_position_embeddings", None)


class TokenMoEForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The base model with the feed-forward of every layer replaced by an MoE layer; all else is the base's."""

    config_class = TokenMoEConfig
    base_model_prefix = "model"
    _supports_sdpa = True

    def __init__(self, config: TokenMoEConfig) -> None:
        super().__init__(config)
        self.model = AutoModelForCausalLM.from_config(
            config.base_config, attn_implementation=config._attn_implementation
        )
        for name in feed_forwards(self.model):
            dense = self.model.get_submodule(name)
            experts = [copy.deepcopy(dense) for _ in range(config.experts)]
            copies: list[Any] = list(nn.ModuleList(experts).modules())
            for module in copies:
                module._is_hf_initialized = False
            self.model.set_submodule(name, MoELayer(experts, config.hidden_size, config.top, config.balance))
        self.model.init_weights()  # draws the routers and, anew, the copies: each expert begins with its own weights
        self.post_init()

    @property
    def base_model(self) -> nn.Module:
        """What computes the last hidden states."""
        backbone: nn.Module = self.model.base_model
        return backbone

    def get_output_embeddings(self) -> nn.Module:
        """The base's head."""
        head: nn.Module = self.model.get_output_embeddings()
        return head

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *_: Any, **options: Any) -> nn.Module:
        """As the base's."""
        layer: nn.Module = self.model.resize_token_embeddings(new_num_tokens, **options)
        self.config.base = self.model.config.to_dict()
        return layer

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        """As the base's."""
        return self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **options,
        )


def feed_forwards(model: nn.Module) -> list[str]:
    """Dotted names of a model's feed-forwards.

    Raises:
        ModelError: it has none, or calls them otherwise.
    """
    names = [name for name, _ in model.named_modules() if name.rpartition(".")[2] == FEED_FORWARD]
    if not names:
        what = f"{type(model).__name__} has no modules called {FEED_FORWARD!r} to make experts of"
        raise ModelError(what, where="models.zoo.token_moe", fix="take gpt2, mistral, phi, llama or qwen as the base")
    return names


AutoConfig.register(TokenMoEConfig.model_type, TokenMoEConfig)
AutoModelForCausalLM.register(TokenMoEConfig, TokenMoEForCausalLM)
