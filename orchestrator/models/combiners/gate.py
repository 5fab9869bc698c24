"""A learned gate between both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Gate:
    """g · expert + (1 − g) · common, g = sigmoid(w · [expert, common] + b) for each token; it begins as the mean."""

    def build(self, width: int) -> nn.Module:
        """The module for states of a width."""
        return _Gate(width)


class _Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # Vectors, not a matrix: optimizers neither decay nor orthogonalise them.
        self.expert, self.common = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, expert_BTD: Tensor, common_BTD: Tensor) -> Tensor:
        gate_BT1 = torch.sigmoid(expert_BTD @ self.expert + common_BTD @ self.common + self.bias).unsqueeze(-1)
        return torch.lerp(common_BTD, expert_BTD, gate_BT1.to(expert_BTD.dtype))
