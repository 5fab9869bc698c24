"""Mistral 440M, one of the paper's teacher candidates."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models.zoo._base import Count
from orchestrator.models.zoo.mistral import Mistral


@dataclass(frozen=True)
class Mistral440M(Mistral):
    """GPT-2 Medium's shape (24 × 1024, 16 heads, feed-forward 4096) with 8 key-value heads: 443M with 32,000 tokens.

    The paper gives the size only ("Mistral GPT-M 440M", figure 2); the shape is ours.
    """

    layers: Count = 24
    width: Count = 1024
    heads: Count = 16
    kv_heads: Count = 8
    feed_forward: Count = 4096
