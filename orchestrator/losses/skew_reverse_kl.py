"""Skew reverse KL: reverse KL against a mixture, finite where the teacher has no mass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from orchestrator.losses._base import InsideUnit, SoftLoss, log_mixture, row_dot, through_softmax


@dataclass(frozen=True)
class SkewReverseKL(SoftLoss):
    """D = KL(q ‖ m) with m = skew · q + (1 − skew) · p (DistiLLM, arXiv:2402.03898).

    `skew` is the student's share of m; 0 would be reverse KL. Slope in q, up to a constant:
    log q − log m − skew · q / m.
    """

    skew: InsideUnit = 0.1
    """The student's share of the mixture m."""

    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """Σ q (log q − log m)."""
        q_NV = log_q_NV.exp()
        return (q_NV * (log_q_NV - log_mixture(q_NV, log_p_NV.exp(), self.skew))).sum(-1)

    def divergence(self, log_q_NV: Tensor, log_p_NV: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient; overwrites both logarithms."""
        ratio_NV = log_q_NV.sub_(log_mixture(q_NV, log_p_NV.exp_(), self.skew))  # log q / m
        loss_N = row_dot(q_NV, ratio_NV)
        return loss_N, through_softmax(ratio_NV.sub_(ratio_NV.exp(), alpha=self.skew), q_NV)
