"""A model under training by a torch optimizer of its own parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orchestrator.config.recipe import TrainingConfig
from orchestrator.losses import LossSums
from orchestrator.training.device import autocast
from orchestrator.training.parts import Parts
from orchestrator.training.strategies._base import (
    Losses,
    State,
    load_optimizer_state,
    on_cpu,
    optimizer_state,
    set_learning_rate,
)


class PlainHandle:
    """See :class:`orchestrator.training.strategies._base.Handle`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainingConfig,
        device: torch.device,
        parts: Parts | None,
    ) -> None:
        self.model, self.optimizer, self.config, self.device, self.parts = model, optimizer, config, device, parts
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def forward(self, losses: Losses) -> LossSums:
        with autocast(self.device, self.config.precision):
            return losses(self.model)

    def backward(self, loss: Tensor, last: bool = True) -> None:  # noqa: ARG002
        torch.autograd.backward(loss)

    def step(self, lr: float, selected: frozenset[str] | None = None) -> Tensor:
        if self.parts is not None and selected is not None:
            self.parts.clear_unselected(self.model, selected)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        set_learning_rate(self.optimizer, lr)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def mode(self, training: bool) -> None:
        self.model.train(training)

    def weights(self) -> State:
        return {name: on_cpu(parameter) for name, parameter in self.model.named_parameters()}

    def optimizer_state(self) -> State:
        return optimizer_state(self.optimizer, self.model)

    def load_optimizer_state(self, state: State) -> None:
        load_optimizer_state(self.optimizer, self.model, state)
