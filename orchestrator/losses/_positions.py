"""The soft loss at some of the positions.

Shape legend: n positions to learn, m of them with the soft loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Positions(NamedTuple):
    """Where the soft loss is computed.

    Attributes:
        share: of the positions to learn, in (0, 1]; at least one is taken.
        by_entropy: take those where the student is least certain, as SE-KD does (arXiv:2602.01395): another loss, the
            mean over these. Otherwise they are drawn anew each time, each set of m as likely as any other: the same in
            expectation as all of them.
    """

    share: float = 1.0
    by_entropy: bool = False

    def choose(self, valid_n: Tensor, entropies: Callable[[], Tensor]) -> tuple[Tensor, Tensor, float]:
        """Positions with the soft loss, those without, and n / m, by which a sum over the former stands for all.

        Both are given in order. They are drawn by torch's generator.

        Args:
            valid_n: indices of the positions to learn, int64.
            entropies: gives the student's at these, [n].
        """
        count = len(valid_n)
        taken = min(count, max(1, round(self.share * count)))
        if self.by_entropy:
            order = entropies().argsort(descending=True, stable=True)
        else:
            order = torch.randperm(count, device=valid_n.device)
        chosen, others = (part.sort().values for part in (order[:taken], order[taken:]))
        return valid_n[chosen], valid_n[others], count / max(taken, 1)


ALL = Positions()
