"""Weights laid out once as oneDNN computes them: few rows cost half of what they cost with weights as they lie."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from serve.engine.weights._base import Linear

_ROWS = 8
"""Rows that the layout is chosen for."""


def pack_fp32(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product in fp32."""
    fused = _fused(activation)
    return partial(_product, _packed(weight.detach()), None if bias is None else bias.detach(), fused)


def pack_bf16(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product in bf16, of fp32 states and to fp32 again."""
    fused = _fused(activation)
    half = None if bias is None else bias.detach().bfloat16()
    return partial(_half_product, _packed(weight.detach().bfloat16()), half, fused)


def _packed(weight: Tensor) -> Any:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)


def _fused(activation: str) -> tuple[str, list[float], str]:
    """Attribute, scalars and algorithm that oneDNN is told to apply to the product."""
    return ("gelu", [], "tanh") if activation == "gelu_tanh" else ("none", [], "")


def _product(weight: Any, bias: Tensor | None, fused: tuple[str, list[float], str], states: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, *fused)
    return found


def _half_product(weight: Any, bias: Tensor | None, fused: tuple[str, list[float], str], states: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states.to(torch.bfloat16), weight, bias, *fused)
    return found.float()
