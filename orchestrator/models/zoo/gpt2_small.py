"""GPT-2 Small."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.gpt2 import GPT2


@dataclass(frozen=True)
class GPT2Small(GPT2):
    """12 × 768, 12 heads: 110M parameters with 32,000 tokens (paper, Table 2)."""

    layers: Count = 12
    width: Count = 768
    heads: Count = 12
