"""Losses of a mixture's blocks under every way of using it, from one pass over them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.evaluation.perplexity import check_finite, check_fit, head_losses
from orchestrator.models import head, hidden_states
from orchestrator.models.mixture import COMMON, Mixture
from orchestrator.tokens.blocks import TokenBlocks

ALONE, AVERAGE, SOFT = "alone:", "average", "soft"
"""Names of losses: an expert without the common one (prefix), the mean over all experts, the router's mixture."""


def mixture_losses(
    mixture: Mixture, blocks: TokenBlocks, language: str, probabilities_NE: NDArray[np.float64], batch: int = 16
) -> dict[str, NDArray[np.float64]]:
    """Summed negative log-likelihood, in nats, of each of a language's first N blocks.

    Args:
        mixture: in evaluation mode.
        blocks: the packed split.
        language: of the blocks.
        probabilities_NE: the router's, by the mixture's languages.
        batch: blocks in memory at once.

    Returns:
        float64 [N] by name: each expert's language (with the common expert, where there is one); "alone:<language>" and
        "common" where there is one; "average" and "soft", the mean of all experts' probabilities, even and weighted by
        the router's.

    Raises:
        ModelError: the mixture does not fit the blocks, or a loss is not finite.
    """
    check_fit(mixture.branch(mixture.languages[0]), blocks)
    row, count = blocks.languages.index(language), len(probabilities_NE)
    device = next(mixture.parameters()).device
    parts: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, count, batch):
        stop = min(start + batch, count)
        rows = np.stack([np.full(stop - start, row), np.arange(start, stop)], axis=1)
        tokens = torch.from_numpy(blocks.gather(rows)).to(device)
        weights_BE = torch.from_numpy(probabilities_NE[start:stop]).to(device)
        with torch.inference_mode():
            for name, losses_BT in _token_losses(mixture, tokens, weights_BE).items():
                parts.setdefault(name, []).append(losses_BT.sum(dim=1, dtype=torch.float64).cpu().numpy())
    losses = {name: np.concatenate(values) for name, values in parts.items()}
    for values in losses.values():
        check_finite(values, language)
    return losses


def _token_losses(mixture: Mixture, tokens: Tensor, weights_BE: Tensor) -> dict[str, Tensor]:
    """Losses [B, T] by name."""
    ids_BT, targets_BT = tokens[:, :-1], tokens[:, 1:]
    found: dict[str, Tensor] = {}
    common_BTD = None
    if mixture.common is not None:
        common_BTD = hidden_states(mixture.common, ids_BT)
        found[COMMON] = head_losses(common_BTD, head(mixture.common), targets_BT)
    for language, expert in mixture.experts.items():
        states_BTD, layer = hidden_states(expert, ids_BT), head(expert)
        if common_BTD is not None:
            found[ALONE + language] = head_losses(states_BTD, layer, targets_BT)
            states_BTD = mixture.combiners[language](states_BTD, common_BTD)
        found[language] = head_losses(states_BTD, layer, targets_BT)
    log_BTE = -torch.stack([found[language] for language in mixture.languages], dim=-1)
    even = torch.full_like(weights_BE, 1 / len(mixture.languages))
    for name, shares_BE in ((AVERAGE, even), (SOFT, weights_BE)):
        found[name] = -torch.logsumexp(log_BTE + shares_BE.to(log_BTE).log()[:, None], dim=-1)
    return found
