"""A teacher that reads the same text in its own tokens.

Shape legend: B blocks, T tokens of a block, W of the teacher's tokens for it, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from orchestrator.classes import Classes, Met


class Window(NamedTuple):
    """Some blocks' text in the teacher's tokens.

    Attributes:
        ids: the teacher's, int64 [B, W].
        places: which of them has read the text that each of the student's tokens has, int64 [B, T]; −1: none.
        nodes, barred: see :class:`orchestrator.classes.Met`.
    """

    ids: Tensor
    places: Tensor
    nodes: Tensor
    barred: Tensor

    def met(self) -> Met:
        """Where both have read the same text. What lies before a block has not been read."""
        known_BT = self.places >= 0
        at_BT = torch.arange(known_BT.shape[1]).expand_as(known_BT).masked_fill(~known_BT, -1)
        last_BT = at_BT.cummax(1).values
        before_BT = torch.cat([torch.full_like(last_BT[:, :1], -1), last_BT[:, :-1]], 1)
        nodes_BT, barred_BT = (each.masked_fill(before_BT < 0, -1) for each in (self.nodes, self.barred))
        return Met(known_BT, nodes_BT, barred_BT, before_BT)


@dataclass(frozen=True)
class AlignedTokens:
    """How its tokens lie beside the student's.

    Attributes:
        classes: what both are compared by.
        window: of blocks by (language, block) indices, int64 [B, 2].
    """

    classes: Classes
    window: Callable[[Tensor], Window]

    def hidden_states(
        self, run: Callable[[Tensor], Tensor], rows_B2: Tensor, device: torch.device
    ) -> tuple[Tensor, Met]:
        """The teacher's states at the student's tokens [B, T, D], zeros where it has read other text; and where it has.

        Args:
            run: last hidden states [B, W, D] of ids [B, W].
            rows_B2: (language, block) indices.
            device: of the model.
        """
        window = self.window(rows_B2)
        read = max(1, int(window.places.max()) + 1)  # what lies behind is there as a target
        hidden_BWD, places_BT = run(window.ids[:, :read].to(device)), window.places.to(device)
        hidden_BTD = hidden_BWD.take_along_dim(places_BT.clamp(min=0).unsqueeze(-1), 1)
        return hidden_BTD.masked_fill((places_BT < 0).unsqueeze(-1), 0), window.met().to(device)
