"""What a product is, and what makes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
"""fp32 [N, inputs] to fp32 [N, outputs]."""


class Pack(Protocol):
    """Makes a product of a weight."""

    def __call__(self, weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
        """The product, bias and activation included.

        Args:
            weight: [outputs, inputs], fp32; not needed any more once packed.
            bias: [outputs] or None.
            activation: "" or "gelu_tanh".
        """


def has_onednn(device: str | torch.device) -> bool:
    """Whether oneDNN computes on a device."""
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and torch.device(device).type == "cpu"
