"""Plain torch in one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import TrainingError
from orchestrator.training.device import device_of
from orchestrator.training.optimizers import OptimizerPlugin
from orchestrator.training.parts import Parts, Share
from orchestrator.training.strategies._base import WHOLE
from orchestrator.training.strategies._plain import PlainHandle

if TYPE_CHECKING:
    from orchestrator.environment import Environment


@dataclass(frozen=True)
class Single:
    """One worker, no communication; the reference that other strategies are held to."""

    def setup(
        self,
        model: nn.Module,
        optimizer: OptimizerPlugin,
        config: TrainingConfig,
        env: Environment,
        parts: Parts | None = None,
        share: Share = WHOLE,  # noqa: ARG002
    ) -> PlainHandle:
        """See :class:`orchestrator.training.strategies._base.Strategy`."""
        if env.world_size > 1:
            raise TrainingError(
                f"strategy `single` trains in one worker, {env.world_size} were asked for",
                where="resources.strategy",
                fix="set resources.workers=1, or resources.strategy=deepspeed",
            )
        device = device_of(env)
        model.to(device)
        return PlainHandle(model, optimizer.build(model), config, device, parts)
