"""What a training strategy is: how gradients, updates and state are spread over workers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from orchestrator.config.recipe import TrainingConfig
from orchestrator.losses import LossSums
from orchestrator.training.optimizers import OptimizerPlugin
from orchestrator.training.parts import Parts, Share

if TYPE_CHECKING:
    from orchestrator.environment import Environment

WHOLE = Share()
"""All rows, for one worker."""
State = dict[str, Tensor]
Losses = Callable[[nn.Module], LossSums]
"""The sums over one micro-batch's valid tokens, of a model."""


class Handle(Protocol):
    """A model under training. Every worker calls every method, in the same order (they may be collective)."""

    def forward(self, losses: Losses) -> LossSums:
        """``losses(model)`` in the recipe's precision; weights are read nowhere else."""
        ...

    def backward(self, loss: Tensor, last: bool = True) -> None:
        """Add the gradient of this worker's share of the global mean loss; `last`: :meth:`step` comes next."""
        ...

    def step(self, lr: float, selected: frozenset[str] | None = None) -> Tensor:
        """Clip, update the weights, clear the gradients; the gradient's norm before clipping, a scalar tensor.

        Parts of the model that are not `selected` (None: all are) don't count in the norm and stay as they are.
        """
        ...

    def mode(self, training: bool) -> None:
        """Turn dropout on or off."""
        ...

    def weights(self) -> State:
        """All weights by parameter name, fp32, on the CPU of rank 0; nothing on the others."""
        ...

    def optimizer_state(self) -> State:
        """Whole optimizer state as "<parameter>/<key>", the same for any strategy; where `weights` are."""
        ...

    def load_optimizer_state(self, state: State) -> None:
        """Take over what :meth:`optimizer_state` gave. The weights are loaded before `setup`."""
        ...


class Strategy(Protocol):
    """A plug-in of `training.strategies`."""

    @abstractmethod
    def setup(
        self,
        model: nn.Module,
        optimizer: OptimizerPlugin,
        config: TrainingConfig,
        env: Environment,
        parts: Parts | None = None,
        share: Share = WHOLE,
    ) -> Handle:
        """Put `model` (fp32 weights) under training.

        Args:
            model: what is trained; parameters that require no gradient are not.
            optimizer, config, env: of the run.
            parts: the model's, where a step may select some of them.
            share: what :func:`share_of` gave.

        Raises:
            ResourceError: the device or a package is missing. TrainingError: the strategy can't do what is asked.
        """
        ...


def share_of(strategy: object, languages: tuple[str, ...], parts: Parts | None, env: Environment) -> Share:
    """The rows that a worker gets; every `world_size`-th of all languages, where a strategy has no `share` of its own.

    Raises:
        TrainingError: the strategy can't spread these parts over these workers.
    """
    share: Callable[..., Share] | None = getattr(strategy, "share", None)
    return Share(env.rank, env.world_size) if share is None else share(languages, parts, env)


def prepare(strategy: object) -> None:
    """What a strategy wants done once on a machine, before workers start (compiling); nothing for most."""
    action = getattr(strategy, "prepare", None)
    if action is not None:
        action()


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate to `lr` times its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> State:
    """State of a plain torch optimizer by parameter name, "<parameter>/<key>", on the CPU."""
    return {
        f"{name}/{key}": on_cpu(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module, state: State) -> None:
    """Take over what :func:`optimizer_state` gave; copies, because the optimizer updates its state in place."""
    parameters = dict(model.named_parameters())
    for path, value in state.items():
        name, key = path.rsplit("/", 1)
        optimizer.state[parameters[name]][key] = value.to(parameters[name].device, copy=True)


def on_cpu(tensor: Tensor) -> Tensor:
    """A copy of `tensor` on the CPU that later updates don't change."""
    return tensor.detach().to("cpu", copy=True).contiguous()
