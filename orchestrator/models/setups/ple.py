"""Pre-trained language experts: independent models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from orchestrator.models.mixture import Mixture
from orchestrator.models.setups._base import Setup


@dataclass(frozen=True)
class PLE(Setup):
    """Experts distilled independently of each other (paper, section 3.5, setup 1)."""

    def assemble(self, experts: Mapping[str, nn.Module], common: nn.Module | None = None) -> Mixture:  # noqa: ARG002
        """See :class:`orchestrator.models.setups._base.Setup`."""
        return Mixture(experts)
