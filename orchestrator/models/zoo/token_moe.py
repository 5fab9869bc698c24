"""Mixtral-style token routing (arXiv:2401.04088) over any architecture of the zoo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.config.base import PluginSpec, build, plugin_of
from orchestrator.models.zoo._base import Architecture, Count, special_ids

_BASE = PluginSpec(type="gpt2-tiny-expert")


@dataclass(frozen=True)
class TokenMoE(Architecture):
    """``{type: token-moe, base: {type: gpt2, layers: 4}, experts: 4}``: each layer's feed-forward becomes several."""

    plain_head: ClassVar[bool] = False
    base: plugin_of("models.zoo") = _BASE  # type: ignore[valid-type]
    """Architecture, by name or with options; gives everything but the feed-forwards' number."""
    experts: Count = 4
    """Number of feed-forwards of a layer."""
    top: Count = 2
    """Number of feed-forwards that a token is sent to."""
    balance: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the load-balancing loss (Switch Transformer, arXiv:2101.03961, takes 0.01)."""

    def __post_init__(self) -> None:
        if self.top > self.experts:
            raise ValueError(f"a token can't be sent to {self.top} of {self.experts} experts")
        if self.base.type.replace("-", "_") in ("pretrained", "token_moe"):
            raise ValueError(f"the base is an architecture with fresh weights and dense layers, not {self.base.type}")

    def configuration(self, vocab_size: int, context: int) -> Any:
        """A `TokenMoEConfig`."""
        from orchestrator.models._token_moe import TokenMoEConfig

        base = build("models.zoo", self.base).configuration(vocab_size, context)
        return TokenMoEConfig(
            base=base.to_dict(), experts=self.experts, top=self.top, balance=self.balance, **special_ids()
        )
