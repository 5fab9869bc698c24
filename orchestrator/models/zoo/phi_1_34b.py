"""Phi 1.34B, one of the paper's teacher candidates."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.phi import Phi


@dataclass(frozen=True)
class Phi134B(Phi):
    """Phi-1.5 (24 × 2048, 32 heads, feed-forward 8192): 1.34B with 32,000 tokens (paper, Table 2)."""

    layers: Count = 24
    width: Count = 2048
    heads: Count = 32
