"""Tensors on their way from this process to a device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def moved(tensor: Tensor, device: Any) -> Tensor:
    """A tensor on `device`. To a GPU it goes while the GPU works on: from memory that the system does not move.

    A copy from other memory waits until the GPU is done with all that it was asked for (CUDA's programming guide,
    "Page-Locked Host Memory").
    """
    device = torch.device(device)
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
