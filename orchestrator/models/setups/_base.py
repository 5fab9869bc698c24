"""What every setup of a mixture is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from orchestrator.models.mixture import Mixture


@dataclass(frozen=True)
class Setup(ABC):
    """A plug-in of this room: which parts there are, and what they share."""

    joint: ClassVar[bool] = False
    """Whether the parts are trained together; otherwise each expert is trained on its own."""
    has_common: ClassVar[bool] = False
    """Whether there is a common expert."""

    @abstractmethod
    def assemble(self, experts: Mapping[str, nn.Module], common: nn.Module | None = None) -> Mixture:
        """The mixture of models, whose layers it may replace by shared ones.

        Args:
            experts: by language.
            common: the common expert, exactly where the setup has one.

        Raises:
            ModelError: the models don't fit together.
        """

    def grow(self, mixture: Mixture, experts: Mapping[str, nn.Module]) -> Mixture:
        """A mixture of this setup with more experts, which take over the layers that it shares.

        Raises:
            ModelError: they don't fit.
        """
        grown = self.assemble({**mixture.experts, **experts}, mixture.common)
        for language, combiner in mixture.combiners.items():
            grown.combiners[language] = combiner
        return grown
