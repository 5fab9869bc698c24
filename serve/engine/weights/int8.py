"""Weights and activations in eight bits, sums in 32: oneDNN's products with weights packed once.

Each output's weights have a scale of their own, and so has each token's activation: what a row gets does not depend on
the rows beside it, and as integers are summed exactly, not even in the last bit.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from orchestrator.errors import ServingError
from serve.engine.weights._base import Linear, Pack, has_onednn
from serve.engine.weights.plain import activated

_MOST = 127.0
_ZERO = 128  # activations are stored unsigned: for signed ones some shapes have no fast kernel (70 times slower)
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
    scale = scale / _MOST
    # What the zero point adds to each output is known now: oneDNN would sum the weights again in every call.
    shift = (-_ZERO * rounded.double().sum(dim=1) * scale).float()
    constants = (scale, torch.zeros(len(weight), dtype=torch.int64), shift, torch.tensor(_ZERO + 0.5))
    return partial(_product, packed, constants, None if bias is None else bias.detach(), activation)


def _product(
    weight: Any, constants: tuple[Tensor, ...], bias: Tensor | None, activation: str, states_ND: Tensor
) -> Tensor:
    scale, zeros, shift, middle = constants  # what is rounded is cut off after its middle was added
    # A row of zeros becomes whatever it will, and is multiplied by zero below.
    largest_N1 = states_ND.abs().amax(dim=-1, keepdim=True)
    rounded_ND = torch.addcdiv(middle, states_ND, largest_N1, value=_MOST).to(torch.uint8)
    found: Tensor = torch.ops.onednn.qlinear_pointwise(
        rounded_ND, 1.0, 0, weight, scale, zeros, shift, 1.0, 0, torch.float32, "none", [], ""
    )
    found = found.mul_(largest_N1) if bias is None else torch.addcmul(bias, found, largest_N1)
    return activated(found, activation)
