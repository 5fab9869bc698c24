"""Distil-GPT2, the paper's student."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.gpt2 import GPT2


@dataclass(frozen=True)
class DistilGPT2(GPT2):
    """6 × 768, 12 heads: 82M parameters with GPT-2's 50,257 tokens (paper, Table 2), 68M with 32,000."""

    layers: Count = 6
    width: Count = 768
    heads: Count = 12
