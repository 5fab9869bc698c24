"""Joint expert embedding training: experts with one embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from orchestrator.models.mixture import Mixture
from orchestrator.models.setups._base import Setup


@dataclass(frozen=True)
class JEET(Setup):
    """Experts trained concurrently with one token embedding (paper, section 3.5, setup 2), and heads tied to it."""

    joint: ClassVar[bool] = True

    def assemble(self, experts: Mapping[str, nn.Module], common: nn.Module | None = None) -> Mixture:  # noqa: ARG002
        """See :class:`orchestrator.models.setups._base.Setup`."""
        return Mixture(experts, shares=("embedding",))
