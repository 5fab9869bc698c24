"""Total variation distance: bounded, the same in both directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.losses._base import SoftLoss, through_softmax


@dataclass(frozen=True)
class TVD(SoftLoss):
    """D = ½ Σ |q − p| (f-distill, arXiv:2307.15190).

    Slope in q: ½ sign(q − p), 0 where they are equal up to rounding: there the sign would be noise.
    """

    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """½ Σ |q − p|."""
        return 0.5 * (log_q_NV.exp() - log_p_NV.exp()).abs().sum(-1)

    def divergence(self, log_q_NV: Tensor, log_p_NV: Tensor, q_NV: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Value and gradient; overwrites `log_p_NV`."""
        difference_NV = log_p_NV.exp_().neg_().add_(q_NV)
        loss_N = 0.5 * difference_NV.abs().sum(-1)
        rounding = 32 * torch.finfo(q_NV.dtype).eps
        slope_NV = difference_NV.sign().mul_(0.5).masked_fill_(difference_NV.abs() <= rounding * q_NV, 0)
        return loss_N, through_softmax(slope_NV, q_NV)
