"""The quickstart's expert."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.gpt2 import GPT2


@dataclass(frozen=True)
class GPT2TinyExpert(GPT2):
    """2 × 128, 4 heads: 0.9M parameters with 4,096 tokens."""

    layers: Count = 2
    width: Count = 128
    heads: Count = 4
