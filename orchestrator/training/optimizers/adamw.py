"""AdamW, the paper's optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class AdamW:
    """AdamW (arXiv:1711.05101) without decay on biases and norms."""

    elementwise: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate after the warm-up."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Decay of the running means of the gradient and of its square."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the mean square."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Decay of matrices and embeddings at each step, times the learning rate (the paper: 0.05)."""

    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The torch optimizer of the model's trainable parameters; those with fewer than two dimensions don't decay."""
        return self.over(model.parameters())

    def over(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """As :meth:`build`, of some parameters only."""
        import torch

        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=self.lr, betas=self.betas, eps=self.eps, fused=True
        )
