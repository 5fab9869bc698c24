"""Generalised Jensen–Shannon divergence: between forward and reverse KL, and bounded."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from orchestrator.losses._base import InsideUnit, SoftLoss, log_mixture, row_dot, through_softmax


@dataclass(frozen=True)
class JSD(SoftLoss):
    """D = beta · KL(p ‖ m) + (1 − beta) · KL(q ‖ m) with m = beta · p + (1 − beta) · q (GKD, arXiv:2306.13649).

    `beta` is the teacher's share of m. D / beta tends to forward KL as beta falls to 0, D / (1 − beta) to reverse KL as
    it rises to 1. Slope in q: (1 − beta) (log q − log m), up to a constant.
    """

    beta: InsideUnit = 0.5
    """The teacher's share of the mixture m."""

    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """The formula, literally."""
        p_NV, q_NV = log_p_NV.exp(), log_q_NV.exp()
        log_m_NV = log_mixture(q_NV, p_NV, 1 - self.beta)
        teacher_N = (p_NV * (log_p_NV - log_m_NV)).sum(-1)
        student_N = (q_NV * (log_q_NV - log_m_NV)).sum(-1)
        return self.beta * teacher_N + (1 - self.beta) * student_N

    def divergence(self, log_q_NV: Tensor, log_p_NV: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient; overwrites both logarithms."""
        p_NV = log_p_NV.exp()
        log_m_NV = log_mixture(q_NV, p_NV, 1 - self.beta)
        teacher_N = row_dot(p_NV, log_p_NV.sub_(log_m_NV))
        slope_NV = log_q_NV.sub_(log_m_NV)
        student_N = row_dot(q_NV, slope_NV)
        loss_N = self.beta * teacher_N + (1 - self.beta) * student_N
        return loss_N, through_softmax(slope_NV.mul_(1 - self.beta), q_NV)
