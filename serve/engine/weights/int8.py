"""Weights and activations in eight bits, sums in 32: oneDNN's products with weights packed once.

Each output's weights have a scale of their own, and so has each token's activation: what a row gets does not depend on
the rows beside it, and as integers are summed exactly, not even in the last bit.

Processors without instructions for it (VNNI) multiply in pairs, whose sum must fit 16 bits: oneDNN cuts off what does
not. There activations have seven bits, with which every pair fits.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from orchestrator.errors import ServingError
from serve.engine.weights._base import Linear, Pack, has_onednn
from serve.engine.weights.plain import activated

_MOST = 127.0
_SMALLEST = 1e-30


def pack_for(device: str | torch.device) -> Pack:
    """The way of packing.

    Raises:
        ServingError: eight bits are for CPUs that oneDNN is built for.
    """
    if not has_onednn(device):
        raise ServingError("int8 is computed on CPUs, by oneDNN", fix="choose the precision bf16")
    return pack_int8


def pack_int8(weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
    """A product of eight-bit integers, of fp32 states and to fp32 again."""
    weight = weight.detach()
    scale = (weight.abs().amax(dim=1) / _MOST).clamp(min=_SMALLEST)
    rounded = (weight / scale[:, None]).round_().clamp_(-_MOST, _MOST)
    packed = torch.ops.onednn.qlinear_prepack(rounded.to(torch.int8).contiguous(), None)
    most = 63 if _cuts_off() else 127
    zero = most + 1  # activations are stored unsigned: signed ones have no fast kernel in some shapes (70 times slower)
    scale = scale / most
    # What the zero point adds to each output is known now: oneDNN would sum the weights again in every call.
    shift = (-zero * rounded.double().sum(dim=1) * scale).float()
    constants = (scale, torch.zeros(len(weight), dtype=torch.int64), shift, torch.tensor(zero + 0.5))
    return partial(_product, packed, constants, most, None if bias is None else bias.detach(), activation)


@cache
def _cuts_off() -> bool:
    """Whether sums of two products are cut off at 16 bits here."""
    inputs = 64
    weight = torch.ops.onednn.qlinear_prepack(torch.full((inputs, inputs), 127, dtype=torch.int8), None)
    states, ones = torch.full((1, inputs), 255, dtype=torch.uint8), torch.ones(inputs)
    found = _multiplied(states, weight, ones, torch.zeros(inputs, dtype=torch.int64), torch.zeros(inputs))
    return not bool((found == 255 * 127 * inputs).all())


def _product(
    weight: Any, constants: tuple[Tensor, ...], most: int, bias: Tensor | None, activation: str, states_ND: Tensor
) -> Tensor:
    scale, zeros, shift, middle = constants  # what is rounded is cut off after its middle was added
    # A row of zeros becomes whatever it will, and is multiplied by zero below.
    largest_N1 = states_ND.abs().amax(dim=-1, keepdim=True)
    rounded_ND = torch.addcdiv(middle, states_ND, largest_N1, value=most).to(torch.uint8)
    found = _multiplied(rounded_ND, weight, scale, zeros, shift)
    found = found.mul_(largest_N1) if bias is None else torch.addcmul(bias, found, largest_N1)
    return activated(found, activation)


def _multiplied(states_ND: Tensor, weight: Any, scale: Tensor, zeros: Tensor, shift: Tensor) -> Tensor:
    found: Tensor = torch.ops.onednn.qlinear_pointwise(
        states_ND, 1.0, 0, weight, scale, zeros, shift, 1.0, 0, torch.float32, "none", [], ""
    )
    return found
