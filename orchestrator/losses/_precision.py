"""In which type to multiply, and in which to sum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def exact_type(tensor: Tensor) -> torch.dtype:
    """Type of softmaxes, losses and sums of gradients: fp32, or fp64 for fp64 inputs."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def product_type(hidden: Tensor) -> torch.dtype:
    """Type of the matrix products: autocast's where it is on, else that of the hidden states.

    On a CPU without AMX it is fp32 even for bf16 hidden states and heads, which is exact and the faster: one core of a
    Xeon with avx512_bf16 does 145 GFLOP/s in fp32 and 77 in bf16.
    """
    device = hidden.device.type
    if device == "cpu" and not fast_bf16():
        return exact_type(hidden)
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware (AMX); no where torch (2.11) can't say."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16", False))
