"""A soft loss by its definition alone; its gradient comes by autograd."""

from dataclasses import dataclass

from torch import Tensor

from orchestrator.losses import SoftLoss


@dataclass(frozen=True)
class Hellinger(SoftLoss):
    """D = ½ Σ (√q − √p)², the squared Hellinger distance: bounded, and the same in both directions."""

    def definition(self, log_q_NV: Tensor, log_p_NV: Tensor) -> Tensor:
        """½ Σ (√q − √p)², by the roots' logarithms."""
        return 0.5 * ((log_q_NV / 2).exp() - (log_p_NV / 2).exp()).square().sum(-1)
