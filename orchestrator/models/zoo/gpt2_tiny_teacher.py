"""The quickstart's teacher."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.gpt2 import GPT2


@dataclass(frozen=True)
class GPT2TinyTeacher(GPT2):
    """4 × 192, 6 heads: 2.6M parameters with 4,096 tokens."""

    layers: Count = 4
    width: Count = 192
    heads: Count = 6
