"""The soft loss at some of the positions: an unbiased estimate of that at all.

Shape legend: n positions to learn, m of them with the soft loss.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw(valid_n: Tensor, share: float) -> tuple[Tensor, Tensor, float]:
    """Positions with the soft loss, those without, and n / m, by which a sum over the former stands for all.

    Each set of m positions is as likely as any other, by torch's generator. Both are given in order.

    Args:
        valid_n: indices of the positions to learn, int64.
        share: of them, in (0, 1]; at least one is taken.
    """
    count = len(valid_n)
    taken = min(count, max(1, round(share * count)))
    order = torch.randperm(count, device=valid_n.device)
    chosen, others = (part.sort().values for part in (order[:taken], order[taken:]))
    return valid_n[chosen], valid_n[others], count / max(taken, 1)
