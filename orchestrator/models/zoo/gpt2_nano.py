"""The smallest GPT-2, for tests."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.gpt2 import GPT2


@dataclass(frozen=True)
class GPT2Nano(GPT2):
    """2 × 32, 2 heads: 44k parameters with 512 tokens and a context of 64."""

    layers: Count = 2
    width: Count = 32
    heads: Count = 2
