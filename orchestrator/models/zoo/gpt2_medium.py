"""GPT-2 Medium, the paper's teacher."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.gpt2 import GPT2


@dataclass(frozen=True)
class GPT2Medium(GPT2):
    """24 × 1024, 16 heads: 340M parameters with 32,000 tokens (paper, Table 2)."""

    layers: Count = 24
    width: Count = 1024
    heads: Count = 16
