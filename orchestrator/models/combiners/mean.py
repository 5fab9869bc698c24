"""The mean of both, as in the paper."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Mean:
    """(expert + common) / 2."""

    def build(self, width: int) -> nn.Module:  # noqa: ARG002
        """The module for states of a width; it has no parameters."""
        return _Mean()


class _Mean(nn.Module):
    def forward(self, expert_BTD: Tensor, common_BTD: Tensor) -> Tensor:
        return (expert_BTD + common_BTD) / 2
