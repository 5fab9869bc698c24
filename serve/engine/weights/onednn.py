"""Weights laid out once as oneDNN computes them: large ones are then multiplied faster than as they lie."""

from __future__ import annotations

from contextlib import suppress
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from serve.engine.weights import plain
from serve.engine.weights._base import Linear

_ROWS = 8
"""Rows that the layout is chosen for."""
_LARGE = 2**20
"""Elements below which a call of oneDNN costs more than its product: plain torch multiplies such weights."""
_MOST = 32
"""Rows of a bf16 product: more are summed in another order, and a row is to get the same in any batch."""


def pack_fp32(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product in fp32."""
    if weight.numel() < _LARGE:
        return plain.pack_fp32(weight, bias, activation)
    return partial(_product, _packed(weight.detach()), None if bias is None else bias.detach(), _fused(activation))


def pack_bf16(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product in bf16, of fp32 states and to fp32 again."""
    half = None if bias is None else bias.detach().bfloat16()
    return partial(_half_product, _packed(weight.detach().bfloat16()), half, _fused(activation))


@cache
def has_bf16() -> bool:
    """Whether torch lays out weights in bf16 here: it asks for AVX-512, or for AVX-NE-CONVERT."""
    with suppress(RuntimeError):
        _packed(torch.ones(2, 2, dtype=torch.bfloat16))
        return True
    return False


def _packed(weight: Tensor) -> Any:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)


def _fused(activation: str) -> tuple[str, list[float], str]:
    """Attribute, scalars and algorithm that oneDNN is told to apply to the product."""
    return ("gelu", [], "tanh") if activation == "gelu_tanh" else ("none", [], "")


def _product(weight: Any, bias: Tensor | None, fused: tuple[str, list[float], str], states: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, *fused)
    return found


def _half_product(weight: Any, bias: Tensor | None, fused: tuple[str, list[float], str], states: Tensor) -> Tensor:
    parts = torch.split(states.to(torch.bfloat16), _MOST)
    found = [torch.ops.mkldnn._linear_pointwise(part, weight, bias, *fused) for part in parts]
    return (found[0] if len(found) == 1 else torch.cat(found)).float()
