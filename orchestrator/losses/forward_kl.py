"""Forward KL: the student is punished for missing what the teacher finds likely (mode-covering)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from orchestrator.losses._base import SoftLoss, row_dot


@dataclass(frozen=True)
class ForwardKL(SoftLoss):
    """D = KL(p ‖ q) = Σ p (log p − log q), classic distillation (Hinton et al., arXiv:1503.02531).

    Gradient in z: q − p.
    """

    linear_in_teacher: ClassVar[bool] = True

    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """Σ p (log p − log q)."""
        return (log_p_NV.exp() * (log_p_NV - log_q_NV)).sum(-1)

    def divergence(self, log_q_NV: Tensor, log_p_NV: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient; overwrites both logarithms."""
        p_NV = log_p_NV.exp()
        loss_N = row_dot(p_NV, log_p_NV.sub_(log_q_NV))
        return loss_N, p_NV.neg_().add_(q_NV)
