"""Skew forward KL: forward KL against a mixture, so that its gradient stays bounded."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from orchestrator.losses._base import InsideUnit, SoftLoss, log_mixture, row_dot, through_softmax


@dataclass(frozen=True)
class SkewKL(SoftLoss):
    """D = KL(p ‖ m) with m = skew · p + (1 − skew) · q (DistiLLM, arXiv:2402.03898).

    `skew` is the teacher's share of m; 0 would be forward KL. Slope in q: −(1 − skew) · p / m.
    """

    skew: InsideUnit = 0.1
    """The teacher's share of the mixture m."""

    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """Σ p (log p − log m)."""
        p_NV = log_p_NV.exp()
        return (p_NV * (log_p_NV - log_mixture(log_q_NV.exp(), p_NV, 1 - self.skew))).sum(-1)

    def divergence(self, log_q_NV: Tensor, log_p_NV: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Value and gradient; overwrites `log_p_NV`."""
        p_NV = log_p_NV.exp()
        ratio_NV = log_p_NV.sub_(log_mixture(q_NV, p_NV, 1 - self.skew))  # log p / m
        loss_N = row_dot(p_NV, ratio_NV)
        return loss_N, through_softmax(ratio_NV.exp_().mul_(self.skew - 1), q_NV)
