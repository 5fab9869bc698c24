"""Products with weights of a precision, made ready once: what the forward passes multiply with."""

from __future__ import annotations

import torch

from serve.engine.weights import int8, native, onednn, plain
from serve.engine.weights._base import Linear, Pack, has_onednn

__all__ = ["Linear", "Pack", "pack_for"]


def pack_for(precision: str, device: str | torch.device = "cpu") -> Pack:
    """How weights of a precision are packed on a device: for our own kernel, else for oneDNN, else for plain torch.

    Args:
        precision: see :data:`serve.engine.options.PRECISIONS`.
        device: "cpu" or "cuda".

    Raises:
        ServingError: the device can't compute in that precision.
    """
    if (ours := native.pack_for(precision, device)) is not None:
        return ours
    packed = has_onednn(device)
    if precision == "int8":
        return int8.pack_for(device)
    if precision == "bf16":
        return onednn.pack_bf16 if packed and onednn.has_bf16() else plain.pack_bf16
    return onednn.pack_fp32 if packed else plain.pack_fp32
