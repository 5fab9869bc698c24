"""Weights laid out once as oneDNN computes them, where that is the faster way."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from serve.engine.weights import plain
from serve.engine.weights._base import Linear

_ROWS = 8
"""Rows that the layout is chosen for."""
_LARGE = 2**20
"""Elements below which a call of oneDNN costs more than its product: plain torch multiplies such weights."""
_MARGIN = 0.9
_MOST = 32
"""Rows of a bf16 product: more are summed in another order, and a row is to get the same in any batch."""


def pack_fp32(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product in fp32."""
    if weight.numel() < _LARGE or plain_is_faster(torch.get_num_threads()):
        return plain.pack_fp32(weight, bias, activation)
    return _packed_fp32(weight, bias, activation)


def pack_bf16(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product in bf16, of fp32 states and to fp32 again."""
    half = None if bias is None else bias.detach().bfloat16()
    return partial(_half_product, _packed(weight.detach().bfloat16()), half, _fused(activation))


@cache
def plain_is_faster(threads: int) -> bool:  # noqa: ARG001
    """Whether this machine multiplies large fp32 weights clearly faster without oneDNN, which depends on its processor.

    Measured once for a number of threads, in some hundredths of a second, with one row and with eight.
    """
    with torch.inference_mode():
        weight = torch.ones(3072, 768)
        ways = (plain.pack_fp32(weight, None), _packed_fp32(weight, None, ""))
        ours, theirs = (sum(_seconds(partial(way, torch.ones(rows, 768))) for rows in (1, _ROWS)) for way in ways)
    return ours < _MARGIN * theirs


def _seconds(product: Callable[[], Tensor]) -> float:
    found = []
    for _ in range(12):
        start = time.perf_counter()
        product()
        found.append(time.perf_counter() - start)
    return median(found)


def _packed_fp32(weight: Tensor, bias: Tensor | None, activation: str) -> Linear:
    return partial(_product, _packed(weight.detach()), None if bias is None else bias.detach(), _fused(activation))


def _packed(weight: Tensor) -> Any:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)


def _fused(activation: str) -> tuple[str, list[float], str]:
    """Attribute, scalars and algorithm that oneDNN is told to apply to the product."""
    return ("gelu", [], "tanh") if activation == "gelu_tanh" else ("none", [], "")


def _product(weight: Any, bias: Tensor | None, fused: tuple[str, list[float], str], states: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, *fused)
    return found


def _half_product(weight: Any, bias: Tensor | None, fused: tuple[str, list[float], str], states: Tensor) -> Tensor:
    parts = states.to(torch.bfloat16).split(_MOST)
    found = [torch.ops.mkldnn._linear_pointwise(part, weight, bias, *fused) for part in parts]
    return (found[0] if len(found) == 1 else torch.cat(found)).float()
