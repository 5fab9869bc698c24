"""Reverse KL: the student is punished for what the teacher finds unlikely (mode-seeking)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from orchestrator.losses._base import SoftLoss, row_dot


@dataclass(frozen=True)
class ReverseKL(SoftLoss):
    """D = KL(q ‖ p) = Σ q (log q − log p), as the paper's text has it, after MiniLLM (arXiv:2306.08543).

    Gradient in z: q · (log q − log p − D).
    """

    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """Σ q (log q − log p)."""
        return (log_q_NV.exp() * (log_q_NV - log_p_NV)).sum(-1)

    def divergence(self, log_q_NV: Tensor, log_p_NV: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient; overwrites `log_q_NV`."""
        ratio_NV = log_q_NV.sub_(log_p_NV)
        loss_N = row_dot(q_NV, ratio_NV)
        return loss_N, ratio_NV.sub_(loss_N.unsqueeze(1)).mul_(q_NV)
