"""In which type to multiply, and in which to sum."""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.products import fast_bf16


def exact_type(tensor: Tensor) -> torch.dtype:
    """Type of softmaxes, losses and sums of gradients: fp32, or fp64 for fp64 inputs."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def product_type(hidden: Tensor) -> torch.dtype:
    """Type of the matrix products: autocast's where it is on, else that of the hidden states.

    On a CPU that is no faster in bf16 it is fp32 even for bf16 hidden states and heads, which is exact.
    """
    device = hidden.device.type
    if device == "cpu" and not fast_bf16():
        return exact_type(hidden)
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
