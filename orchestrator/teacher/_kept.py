"""A teacher for students that have some of its tokens: its distribution over these, and over all others as one.

The logit of the others together is the log of the sum of their exponentials, so a softmax over the kept tokens' logits
and this one is the teacher's own softmax, added up: exact, however little is left for the others.

Shape legend: B blocks, T tokens, D width, V the teacher's vocabulary, K kept tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.heads import Head

LOGITS = {"cpu": 1 << 24, "cuda": 1 << 27}
"""Logits that are held at once."""


@dataclass(frozen=True)
class KeptTokens:
    """Which tokens the student has.

    Attributes:
        ids: of them at the teacher, ascending, int64 [K].
        size: the teacher's tokens, V.
        whole: the teacher's own ids [B, T] of blocks by (language, block) indices [B, 2]: those that the student is
            given don't say which of the others a token is.
    """

    ids: Tensor
    size: int
    whole: Callable[[Tensor], Tensor]

    @property
    def has_rest(self) -> bool:
        """Whether a token was dropped."""
        return len(self.ids) < self.size

    def head(self, head: Head) -> Head:
        """The rows of the kept tokens, and an empty one for the others where there are any."""
        ids = self.ids.to(head.weight.device)
        weight, bias = head.weight[ids], None if head.bias is None else head.bias[ids]
        if self.has_rest:
            weight = torch.cat([weight, weight.new_zeros(1, weight.shape[1])])
            bias = None if bias is None else torch.cat([bias, bias.new_zeros(1)])
        return head._replace(weight=weight, bias=bias)

    def rest(self, head: Head, hidden_BTD: Tensor) -> Tensor | None:
        """The logit [B, T] of all other tokens together, fp32 or better, by the whole head; None: there are none."""
        if not self.has_rest:
            return None
        ids = self.ids.to(hidden_BTD.device)
        hidden_ND = hidden_BTD.flatten(0, -2)
        size = max(1, LOGITS.get(hidden_BTD.device.type, LOGITS["cuda"]) // self.size)
        parts = []
        for few in torch.split(hidden_ND, size):
            logits = head.logits(few.to(head.weight.dtype))
            exact = logits if logits.dtype == torch.float64 else logits.float()
            parts.append(exact.index_fill_(1, ids, -torch.inf).logsumexp(1))
        return torch.cat(parts).view(hidden_BTD.shape[:-1])
