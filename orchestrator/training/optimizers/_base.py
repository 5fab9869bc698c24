"""What every optimizer is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import torch


class OptimizerPlugin(Protocol):
    """A plug-in of this room. A parameter group may carry ``lr_scale``: its learning rate is that times the scheduled.

    Class attributes:
        elementwise: whether each weight is updated by itself, so that shards of flattened parameters can be.
    """

    elementwise: ClassVar[bool]

    @property
    def lr(self) -> float:
        """Highest learning rate."""
        ...

    @abstractmethod
    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The torch optimizer of the model's trainable parameters, its state keyed by parameter."""
        ...
