"""From last hidden states to logits: the head, and what some families put after it.

Shape legend: D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear


class Head(NamedTuple):
    """logits = soft cap of (scale · weight · hidden + bias); most families have neither scale, bias nor cap.

    Attributes:
        weight: [V, D]; may be the embedding's (tied).
        bias: [V] or None.
        scale: factor of the product: Cohere, HyperCLOVA X; Granite divides by the number that its configuration has.
        cap: c where logits are c · tanh(z / c), as Gemma 2's are; None: they are not capped.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    @property
    def plain(self) -> bool:
        """Whether logits are the layer's output as it is."""
        return self.scale == 1 and self.cap is None

    @property
    def unchanging(self) -> Head:
        """The same without a graph."""
        return self._replace(weight=self.weight.detach(), bias=None if self.bias is None else self.bias.detach())

    def rows(self, part: slice) -> Head:
        """The head of some of the vocabulary."""
        return self._replace(weight=self.weight[part], bias=None if self.bias is None else self.bias[part])

    def logits(self, hidden: Tensor, multiply: Callable[..., Tensor] = linear) -> Tensor:
        """Logits [..., V] of hidden states [..., D], in their type; `multiply` takes the place of torch's `linear`."""
        if self.scale == 1:
            return capped(multiply(hidden, self.weight, self.bias), self.cap)
        product = multiply(hidden, self.weight) * self.scale
        return capped(product if self.bias is None else product + self.bias, self.cap)


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """Soft-capped logits; the same tensor where there is no cap."""
    return logits if cap is None else cap * torch.tanh(logits / cap)
