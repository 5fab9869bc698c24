"""What every combiner is."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from torch import nn


class Combiner(Protocol):
    """A plug-in of this room. Each expert has a module of its own, so that training one language leaves the others."""

    @abstractmethod
    def build(self, width: int) -> nn.Module:
        """A module that maps ``(expert_BTD, common_BTD)`` to states [B, T, D], for D = `width`."""
        ...
