"""Mixture with a common expert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from orchestrator.config.base import PluginSpec, build, plugin_of
from orchestrator.models.heads import head
from orchestrator.models.mixture import Mixture
from orchestrator.models.setups._base import Setup


@dataclass(frozen=True)
class MoECE(Setup):
    """A common expert learns every language beside that language's expert (paper, section 3.5, setup 3).

    Their hidden states are combined before one head; embedding and head are shared by all.
    """

    joint: ClassVar[bool] = True
    has_common: ClassVar[bool] = True

    combiner: plugin_of("models.combiners", "mean") = PluginSpec(type="mean")  # type: ignore[valid-type]  # noqa: RUF009
    """How the hidden states of expert and common expert become one."""

    def assemble(self, experts: Mapping[str, nn.Module], common: nn.Module | None = None) -> Mixture:
        """See :class:`orchestrator.models.setups._base.Setup`."""
        assert common is not None
        combiner, width = build("models.combiners", self.combiner), head(common).weight.shape[1]
        combiners = {language: combiner.build(width) for language in experts}
        return Mixture(experts, common, combiners, shares=("embedding", "head"))
