"""A teacher that reads the same text in its own tokens.

Shape legend: B blocks, T tokens of a block, W of the teacher's tokens for it, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.classes import Classes


@dataclass(frozen=True)
class AlignedTokens:
    """How its tokens lie beside the student's.

    Attributes:
        classes: what both are compared by.
        windows: of blocks by (language, block) indices [B, 2]: the teacher's ids [B, W], and which of them has read the
            text that each of the student's tokens has, int64 [B, T]; −1: none.
    """

    classes: Classes
    windows: Callable[[Tensor], tuple[Tensor, Tensor]]

    def known(self, rows_B2: Tensor) -> Tensor:
        """Where the teacher says what follows, bool [B, T]."""
        return self.windows(rows_B2)[1] >= 0

    def hidden_states(self, run: Callable[[Tensor], Tensor], rows_B2: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The teacher's states at the student's tokens [B, T, D], zeros where it says nothing, and where it does [B, T].

        Args:
            run: last hidden states [B, W, D] of ids [B, W].
            rows_B2: (language, block) indices.
            device: of the model.
        """
        ids_BW, places_BT = self.windows(rows_B2)
        places_BT = places_BT.to(device)
        hidden_BWD, known_BT = run(ids_BW.to(device)), places_BT >= 0
        places_BT1 = places_BT.clamp(min=0).unsqueeze(-1)
        hidden_BTD = hidden_BWD.take_along_dim(places_BT1, 1)
        return hidden_BTD.masked_fill(~known_BT.unsqueeze(-1), 0), known_BT
