"""Mistral 1.6B, one of the paper's teacher candidates."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.mistral import Mistral


@dataclass(frozen=True)
class Mistral16B(Mistral):
    """Phi-1.5's shape (24 × 2048, 32 heads, feed-forward 8192) with 8 key-value heads: 1.59B with 32,000 tokens.

    The paper gives size and origin only (Table 2: "Phi1.5, custom"); the key-value heads are ours.
    """

    layers: Count = 24
    width: Count = 2048
    heads: Count = 32
    kv_heads: Count = 8
    feed_forward: Count = 8192
