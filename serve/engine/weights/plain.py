"""Weights as plain torch multiplies few rows fastest: transposed, so that each input's weights lie together."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear, pad

from serve.engine.weights._base import Linear

_ROWS = 4
"""Rows of an fp32 product come in fours: MKL sums other numbers in another order (one on all processors, two and three
on AMD's Zen 5; on Zen 3, with two threads, up to eleven), and a row is to get the same in any batch."""


def pack_fp32(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product in fp32."""
    turned = weight.detach().T.contiguous()
    return partial(_product, turned, None if bias is None else bias.detach(), activation)


def pack_bf16(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product in bf16, of fp32 states and to fp32 again."""
    half = (weight.detach().bfloat16(), None if bias is None else bias.detach().bfloat16())
    return partial(_half_product, *half, activation)


def activated(states: Tensor, activation: str) -> Tensor:
    """The activation, if there is one."""
    return gelu(states, approximate="tanh") if activation == "gelu_tanh" else states


def _product(turned: Tensor, bias: Tensor | None, activation: str, states: Tensor) -> Tensor:
    rows = len(states)
    if lacking := -rows % _ROWS:
        states = pad(states, (0, 0, 0, lacking))
    found = torch.mm(states, turned) if bias is None else torch.addmm(bias, states, turned)
    return activated(found[:rows], activation)


def _half_product(weight: Tensor, bias: Tensor | None, activation: str, states: Tensor) -> Tensor:
    return activated(linear(states.to(torch.bfloat16), weight, bias).float(), activation)
