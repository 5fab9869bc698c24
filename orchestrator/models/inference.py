"""A mixture at work: which experts serve a sequence, and the logits of a batch of any languages.

Shape legend: B sequences, T tokens, D width, V vocabulary, E experts in the order of the mixture's languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.heads import Head
from orchestrator.models.build import hidden_states
from orchestrator.models.heads import head
from orchestrator.models.mixture import WHOLE, Mixture
from orchestrator.plugins import suggest

CACHED = 1 << 20
"""Logits computed at once on a CPU before they are put in place: as many as its caches hold."""


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
            probabilities_BE: the router's.
            languages: of the columns.
            has_common: whether there is a common expert.

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


def routed_logits(mixture: Mixture, ids_BT: Tensor, weights_BE: Tensor, common: bool = True) -> Tensor:
    """Logits of a batch of any languages, [B, T, V], in the order of the batch.

    Sequences are grouped by expert, and an expert without weight is not run. A sequence of one expert gets that one's
    logits; one of several gets the log of their probabilities' weighted mean, as c-BTM mixes (arXiv:2303.14177); one of
    none gets the common expert alone.

    Args:
        mixture: in evaluation mode.
        ids_BT: token ids, int64.
        weights_BE: not negative, each row sums to 1 or is all 0; see :meth:`Inference.weights`.
        common: combine with the common expert, where there is one.

    Raises:
        ModelError: experts at work have different vocabularies.
    """
    weights_BE = weights_BE.cpu()
    _check_vocabularies(mixture, weights_BE)
    mixed_B, parts = (weights_BE > 0).sum(1) > 1, list(_states(mixture, ids_BT, weights_BE, common))
    if "head" in mixture.shared and not mixed_B.any():  # one product for all
        order_B = torch.cat([rows for _, rows, _ in parts]).argsort()
        states_BTD = torch.cat([states_BTD for _, _, states_BTD in parts])
        return head(mixture.branch(mixture.languages[0])).logits(states_BTD[order_B])
    weight_VD = head(mixture.branch(mixture.languages[0])).weight
    logits_BTV = parts[0][2].new_empty((*ids_BT.shape, len(weight_VD)))
    logits_BTV[mixed_B.to(ids_BT.device)] = -torch.inf
    for language, rows, states_BTD in parts:
        layer, rows_cpu = head(mixture.branch(language)), rows.cpu()
        if not mixed_B[rows_cpu].any():
            _put(logits_BTV, rows, states_BTD, layer)
            continue
        share_B = weights_BE[rows_cpu, mixture.languages.index(str(language))]
        logits_BTV[rows] = _mixed(logits_BTV[rows], layer.logits(states_BTD), share_B, mixed_B[rows_cpu])
    return logits_BTV


def _check_vocabularies(mixture: Mixture, weights_BE: Tensor) -> None:
    """Make sure that one tensor can hold the logits of all experts at work: their tokens mean the same."""
    used = [language for language, _ in groups(mixture.languages, weights_BE) if language is not None]
    if len(used) > 1 and any(hasattr(mixture.branch(language).config, WHOLE) for language in used):
        raise ModelError(
            f"the experts {', '.join(used)} have tokens of their own, so their probabilities can't be mixed",
            "experts.vocabulary",
            "use the best expert of each text (mode best), one language at a time",
        )


def groups(languages: Sequence[str], weights_BE: Tensor) -> list[tuple[str | None, Tensor]]:
    """(language, indices of the sequences it has weight on), for experts that have any; None: the common expert."""
    used_BE = weights_BE > 0
    found: list[tuple[str | None, Tensor]] = [
        (language, used_BE[:, index].nonzero()[:, 0]) for index, language in enumerate(languages)
    ]
    found.append((None, (~used_BE.any(1)).nonzero()[:, 0]))
    return [(language, rows) for language, rows in found if len(rows)]


def _states(
    mixture: Mixture, ids_BT: Tensor, weights_BE: Tensor, common: bool
) -> Iterator[tuple[str | None, Tensor, Tensor]]:
    """What heads are applied to: (language, rows, states [rows, T, D]); the common expert runs once for all."""
    common_BTD: Tensor | None = None
    for language, rows_cpu in groups(mixture.languages, weights_BE):
        rows = rows_cpu.to(ids_BT.device)
        if common_BTD is None and mixture.common is not None and (common or language is None):
            common_BTD = hidden_states(mixture.common, ids_BT)
        if language is None:
            assert common_BTD is not None, "no expert has weight, and there is no common one"
            yield language, rows, common_BTD[rows]
            continue
        states_BTD = hidden_states(mixture.experts[language], ids_BT[rows])
        if common and common_BTD is not None:
            states_BTD = mixture.combiners[language](states_BTD, common_BTD[rows])
        yield language, rows, states_BTD


def _put(logits_BTV: Tensor, rows: Tensor, states_RTD: Tensor, layer: Head) -> None:
    """Write a head's logits to the rows of a batch; on a CPU some of the vocabulary at a time.

    A second pass over all logits, from where they were computed to where they belong, would cost a tenth of the whole.
    """
    if logits_BTV.device.type != "cpu":
        logits_BTV[rows] = layer.logits(states_RTD)
        return
    size = max(1, CACHED // states_RTD[..., 0].numel())
    for start in range(0, len(layer.weight), size):
        part = slice(start, start + size)
        few_RTV = layer.rows(part).logits(states_RTD)
        for place, row in enumerate(rows.tolist()):
            logits_BTV[row, :, part] = few_RTV[place]


def _mixed(sum_BTV: Tensor, logits_BTV: Tensor, share_B: Tensor, mixed_B: Tensor) -> Tensor:
    """Log of the probabilities so far and of one more expert's share, where sequences are mixed; else its logits."""
    log_share_B11 = share_B.to(logits_BTV).log()[:, None, None]
    joined_BTV = torch.logaddexp(sum_BTV, torch.log_softmax(logits_BTV, -1) + log_share_B11)
    return torch.where(mixed_B.to(logits_BTV.device)[:, None, None], joined_BTV, logits_BTV)
