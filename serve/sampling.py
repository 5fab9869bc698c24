"""Tokens from logits, each row with its own temperature and nucleus. B: rows, V: vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

_COLDEST = 1e-4  # below this a temperature is as good as greedy, and dividing by it would overflow


def sample(logits_BV: Tensor, temperature_B: Tensor, top_p_B: Tensor, uniform_B: Tensor) -> Tensor:
    """One token a row: the most probable where the temperature is 0, otherwise from the nucleus (arXiv:1904.09751).

    The row's uniform number in [0, 1) picks the token by the inverse of the cumulative distribution, most probable
    token first: the choice depends on nothing but the row itself.

    Returns:
        int64 [B].
    """
    greedy_B = logits_BV.argmax(dim=-1)
    if not bool((temperature_B > 0).any()):
        return greedy_B
    scaled_BV = logits_BV.float() / temperature_B.float().clamp(min=_COLDEST)[:, None]
    probability_BV, order_BV = scaled_BV.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    cumulative_BV = probability_BV.cumsum(dim=-1, dtype=torch.float64)
    kept_BV = cumulative_BV - probability_BV < top_p_B[:, None]
    kept_BV[:, 0] = True
    mass_B = cumulative_BV.masked_fill(~kept_BV, 0).amax(dim=-1)
    rank_B = (cumulative_BV <= (uniform_B * mass_B)[:, None]).sum(dim=-1).clamp(max=kept_BV.sum(dim=-1) - 1)
    sampled_B = order_BV.gather(1, rank_B[:, None])[:, 0]
    return torch.where(temperature_B > 0, sampled_B, greedy_B)
