"""Muon for the hidden matrices, AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from orchestrator.products import fast_bf16
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
        muon = _Muon(
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


class _Muon(torch.optim.Muon):
    """torch's own, which orthogonalises in bf16; in fp32 on CPUs that are slow in bf16.

    On processors with AVX2 alone torch 2.13 multiplies bf16 matrices in a plain loop: most of a step.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """As torch's."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        if any(parameter.device.type != "cpu" for parameter in parameters) or fast_bf16():
            return super().step(closure)  # type: ignore[no-untyped-call]
        value = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in (each for each in group["params"] if each.grad is not None):
                _update(parameter, self.state[parameter], group)
        return value


def _update(weight_MN: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """One step of a matrix by a group's options, all in fp32; its state is named as torch's."""
    gradient_MN, lr = cast("Tensor", weight_MN.grad), float(group["lr"])
    mean_MN = state.setdefault("momentum_buffer", torch.zeros_like(gradient_MN))
    mean_MN.lerp_(gradient_MN, 1 - group["momentum"])
    update_MN = gradient_MN.lerp(mean_MN, group["momentum"]) if group["nesterov"] else mean_MN
    update_MN = orthogonalised(update_MN, group["ns_coefficients"], group["ns_steps"], group["eps"])
    weight_MN.mul_(1 - lr * group["weight_decay"])
    weight_MN.add_(update_MN, alpha=-lr * 0.2 * math.sqrt(max(weight_MN.shape)))  # AdamW's mean square: match_rms_adamw


def orthogonalised(matrix_MN: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """A matrix with singular values of about 1, by steps of a polynomial (Newton-Schulz; Muon's author's page)."""
    a, b, c = coefficients
    found = matrix_MN.T if matrix_MN.shape[0] > matrix_MN.shape[1] else matrix_MN
    found = found / found.norm().clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.T if matrix_MN.shape[0] > matrix_MN.shape[1] else found


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
