"""The recipe's section on routing: which expert a text goes to, and what happens to text of no language."""

from __future__ import annotations

from pydantic import Field

from orchestrator.config.base import PluginSpec, Section, plugin_of
from orchestrator.config.names import Code

BEST, COMMON, ERROR = "best", "common", "error"


class RouterConfig(Section):
    """Which expert a text goes to."""

    type: plugin_of("routers", "paper") = PluginSpec(type="paper")  # type: ignore[valid-type]
    """The router and its options: `paper` (TF-IDF over tokens), or `prompt` (characters, for what people type)."""
    sequences_per_language: int = Field(2000, ge=10)
    """Training sequences of each language for the paper's classifiers, at most."""
    reject: Code = BEST
    """Where text of no language goes: `best` (the most probable expert all the same), `common` (the common expert of a
    mixture of type moe_ce), `error` (refused), or an expert's language. Only the prompt router rejects text."""
    reject_above: float = Field(0.5, gt=0, le=1)
    """Probability of being text of no language above which a text is rejected; 1: never."""
