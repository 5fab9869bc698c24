"""Cross-entropy against the teacher: what the paper's released code computes under the name of reverse KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from orchestrator.losses._base import SoftLoss, row_dot


@dataclass(frozen=True)
class TeacherCrossEntropy(SoftLoss):
    """D = −Σ p log q = KL(p ‖ q) + H(p): not a divergence, but with the gradient of forward KL.

    The paper's code computes it; its text (section 3.4) says reverse KL. Gradient in z: q − p.
    """

    zero_at_equality: ClassVar[bool] = False
    linear_in_teacher: ClassVar[bool] = True

    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """−Σ p log q."""
        return -(log_p_NV.exp() * log_q_NV).sum(-1)

    def divergence(self, log_q_NV: Tensor, log_p_NV: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient; overwrites `log_p_NV`."""
        p_NV = log_p_NV.exp_()
        loss_N = row_dot(p_NV, log_q_NV).neg_()
        return loss_N, p_NV.neg_().add_(q_NV)
