"""Which experts serve a sequence: options of inference, without any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ModelError
from orchestrator.plugins import suggest


@dataclass(frozen=True)
class Inference:
    """How a mixture is used (paper, Table 5).

    Attributes:
        mode: `best`: the most probable expert of those allowed; `average`: the mean over all allowed; `soft`: weighted
            by the router's probabilities (c-BTM, arXiv:2303.14177).
        experts: the languages whose experts may serve; None: all; empty: the common expert alone.
        common: combine with the common expert, where there is one.
    """

    mode: Literal["best", "average", "soft"] = "best"
    experts: tuple[str, ...] | None = None
    common: bool = True

    def weights(
        self, probabilities_BE: NDArray[np.floating], languages: Sequence[str], has_common: bool
    ) -> NDArray[np.float64]:
        """Weights of the experts for each sequence, float64 [B, E]; all 0 where the common expert is alone.

        Args:
            probabilities_BE: the router's. languages: of the columns. has_common: whether there is a common expert.

        Raises:
            ModelError: an expert that is not there, or none left to serve.
        """
        allowed = self.allowed(languages, has_common)
        shares_BE: NDArray[np.float64] = np.where(allowed, np.asarray(probabilities_BE, np.float64), 0)
        if not allowed.any():
            return shares_BE
        if self.mode == "soft":
            total_B1 = shares_BE.sum(1, keepdims=True)
            even_BE = np.broadcast_to(allowed / allowed.sum(), shares_BE.shape)  # where the router gives them nothing
            soft_BE: NDArray[np.float64] = np.divide(shares_BE, total_B1, out=even_BE.copy(), where=total_B1 > 0)
            return soft_BE
        if self.mode == "average":
            return np.tile(allowed / allowed.sum(), (len(shares_BE), 1))
        best_BE: NDArray[np.float64] = np.eye(len(languages))[np.where(allowed, shares_BE, -1).argmax(1)]
        return best_BE

    def allowed(self, languages: Sequence[str], has_common: bool) -> NDArray[np.bool_]:
        """Which experts may serve, bool [E].

        Raises:
            ModelError: see :meth:`weights`.
        """
        wanted = languages if self.experts is None else self.experts
        for name in wanted:
            if name not in languages:
                raise ModelError(f"no expert serves {name!r}", "experts", suggest(name, languages))
        if not wanted and not (has_common and self.common):
            why = "the common expert is off" if has_common else "this mixture has no common expert"
            raise ModelError(
                f"no expert is left to serve: the list is empty and {why}",
                "experts",
                f"allow at least one of {', '.join(languages)}" + (", or common" if has_common else ""),
            )
        return np.array([name in wanted for name in languages])
