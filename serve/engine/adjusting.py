"""What a request changes about its logits before a token is chosen: bias and penalties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from serve.messages import Sampling


class Adjustment:
    """Bias and penalties of one row, which grow with its answer.

    Args:
        sampling: of the row.
        prompt: its tokens, which the repetition penalty counts too.
    """

    def __init__(self, sampling: Sampling, prompt: Iterable[int]) -> None:
        self._sampling = sampling
        self._seen = set(prompt) if sampling.repetition_penalty != 1 else set[int]()
        self._counts = Counter[int]()

    def push(self, token: int) -> None:
        """The answer has one more token."""
        self._counts[token] += 1
        if self._sampling.repetition_penalty != 1:
            self._seen.add(token)

    def apply(self, logits_V: Tensor) -> None:
        """Change logits in place; ids beyond them are passed over."""
        how, known = self._sampling, len(logits_V)
        if bias := {token: value for token, value in how.logit_bias.items() if 0 <= token < known}:
            logits_V[list(bias)] += torch.tensor(list(bias.values()), device=logits_V.device)
        if self._seen:
            seen = torch.tensor(sorted(self._seen), device=logits_V.device)
            found = logits_V[seen]
            penalty = how.repetition_penalty
            logits_V[seen] = torch.where(found > 0, found / penalty, found * penalty)
        if self._counts and (how.frequency_penalty or how.presence_penalty):
            counts = torch.tensor(list(self._counts.values()), device=logits_V.device)
            logits_V[list(self._counts)] -= counts * how.frequency_penalty + how.presence_penalty
