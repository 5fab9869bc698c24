"""Hidden states that point the same way as the teacher's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.losses.hidden._base import HiddenLoss


@dataclass(frozen=True)
class Cosine(HiddenLoss):
    """1 − cos(student, teacher) of the last hidden states, as DistilBERT has it (arXiv:1910.01108, section 2)."""

    def per_token(self, student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
        """See :class:`HiddenLoss`."""
        return 1 - torch.cosine_similarity(student_ND, teacher_ND, dim=-1)
