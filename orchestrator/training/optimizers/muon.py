"""Muon for the hidden matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from orchestrator.training.optimizers.adamw import AdamW


@dataclass(frozen=True)
class Muon(AdamW):
    """Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon): momentum, orthogonalised by Newton-Schulz.

    For the matrices between embedding and head. Embeddings, head, norms and biases get AdamW, as Muon's author advises,
    with its options. Muon's updates are scaled to the root mean square of AdamW's (arXiv:2502.16982), so that AdamW's
    learning rate and decay carry over. A matrix is orthogonalised as the model holds it: GPT-2's queries, keys and
    values together.
    """

    elementwise: ClassVar[bool] = False

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Decay of the running mean of a hidden matrix's gradient (Nesterov's)."""
    adamw_lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of what AdamW trains, as a multiple of `lr`."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """One optimizer of the model's trainable parameters; those with fewer than two dimensions don't decay."""
        hidden = hidden_matrices(model)
        chosen = {id(parameter) for parameter in hidden}
        muon = torch.optim.Muon(
            hidden,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        adamw = self.over(parameter for parameter in model.parameters() if id(parameter) not in chosen)
        for group in adamw.param_groups:
            group.update(lr=self.lr * self.adamw_lr_scale, lr_scale=self.adamw_lr_scale)
        return _Joined(muon, adamw)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Trainable matrices of `model` that belong to no embedding and to no output head, of which a mixture has many."""
    heads = [getattr(module, "get_output_embeddings", lambda: None)() for module in model.modules()]
    ids = {id(head) for head in heads if head is not None}
    outside = [module for module in model.modules() if isinstance(module, nn.Embedding) or id(module) in ids]
    excluded = {id(parameter) for module in outside for parameter in module.parameters()}
    return [p for p in model.parameters() if p.requires_grad and p.ndim == 2 and id(p) not in excluded]


class _Joined(torch.optim.Optimizer):
    """Several optimizers as one: their parameter groups are its own, and one state is keyed by all parameters."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Also what `load_state_dict` ends with: its groups and its state are new objects."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Give the parts their groups and the state: learning rates are set in the whole's."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = list(islice(groups, len(part.param_groups)))
            part.state = self.state

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Step each part; the closure's value."""
        value = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return value
