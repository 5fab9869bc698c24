"""The student of the paper's mixture study."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.gpt2 import GPT2


@dataclass(frozen=True)
class MoEStudent(GPT2):
    """3 × 768, 6 heads, as the released mixture script has it: 47M parameters with 32,000 tokens."""

    layers: Count = 3
    width: Count = 768
    heads: Count = 6
