"""An expert that computes beside a common expert (MoE-CE): two forward passes, one head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from serve.engine.cache import Caches
from serve.engine.forward.decoder import Forward
from serve.engine.forward.step import Step


class Combined:
    """See :class:`Forward`.

    Args:
        expert: whose head it is.
        common: the common expert.
        combiner: joins hidden states of both, [B, T, D] each.
    """

    def __init__(self, expert: Forward, common: Forward, combiner: Any) -> None:
        self.expert, self.common, self._combiner = expert, common, combiner
        self.context, self.device = min(expert.context, common.context), expert.device
        self.reads_as_it_decodes = expert.reads_as_it_decodes and common.reads_as_it_decodes

    def cache(self, slots: int) -> Caches:
        """See :class:`Forward`."""
        return Caches([self.expert.cache(slots), self.common.cache(slots)])

    def hidden(self, step: Step, cache: Caches) -> Tensor:
        """See :class:`Forward`. Both are computed for rows without the common expert too: others share beginnings."""
        expert_RD, common_RD = (
            part.hidden(step, own) for part, own in zip((self.expert, self.common), cache.parts, strict=True)
        )
        combined: Tensor = self._combiner(expert_RD[None], common_RD[None])
        return combined[0] if step.alone is None else torch.where(step.alone, expert_RD, combined[0])

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """See :class:`Forward`."""
        return self.expert.logits(hidden_RD)
