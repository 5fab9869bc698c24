"""A student and its teacher, small and in float64, for laws of losses."""

from __future__ import annotations

import torch

from orchestrator.losses import LazyLogits


class SmallCase:
    """Hidden states and head of a student, the teacher's logits, and targets; the same each time."""

    def __init__(self, tokens: int, vocab: int, width: int) -> None:
        g = torch.Generator().manual_seed(1)
        self.hidden = torch.randn(tokens, width, generator=g, dtype=torch.float64).requires_grad_()
        self.weight = torch.randn(vocab, width, generator=g, dtype=torch.float64).requires_grad_()
        self.teacher = LazyLogits(torch.eye(tokens).double(), torch.randn(vocab, tokens, generator=g).double())
        self.targets = torch.randint(vocab, (tokens,), generator=g)
