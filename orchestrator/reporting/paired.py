"""Two ways to predict the same blocks, compared block by block.

Blocks differ far more from each other than two models do on one block, so intervals of two perplexities overlap long
before a difference between them is in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Losses = Mapping[str, NDArray[Any]]
"""The tensors of an evaluation's `block_losses.safetensors`."""


def paired_ratio(
    losses: NDArray[np.float64], others: NDArray[np.float64], context: int, confidence: float
) -> dict[str, Any]:
    """Ratio of the perplexity of `losses` to that of `others`, with its interval.

    Args:
        losses, others: float64 [n], nats summed over each of the same n blocks.
        context: tokens of a block.
        confidence: coverage of the interval: normal, over the blocks' differences.

    Returns:
        "ratio" and its "interval" [low, high]; with a single block that is open: 0 to infinity.
    """
    from scipy.special import ndtri

    differences = (losses - others) / context
    mean, n = float(differences.mean()), len(differences)
    if n < 2:
        return {"ratio": math.exp(mean), "interval": [0.0, math.inf]}
    half = float(ndtri((1 + confidence) / 2)) * float(differences.std(ddof=1)) / math.sqrt(n)
    return {"ratio": math.exp(mean), "interval": [math.exp(mean - half), math.exp(mean + half)]}


def comparisons(tensors: Losses, languages: Sequence[str], context: int, confidence: float) -> dict[str, Any]:
    """What the summary's sentences rest on, by language.

    Returns:
        "next_best_to_own": the best other expert ("rival") against the language's own, empty with a single language;
        "routed_to_teacher": through the router against the teacher. Each is a :func:`paired_ratio`.
    """
    found: dict[str, Any] = {"next_best_to_own": {}, "routed_to_teacher": {}}
    for language in languages:
        experts = {expert: tensors[f"loss/{expert}/{language}"] for expert in languages}
        own, routes = experts[language], tensors[f"route/{language}"]
        routed = np.stack(list(experts.values()))[routes, np.arange(len(own))]
        teacher = tensors[f"loss/teacher/{language}"]
        found["routed_to_teacher"][language] = paired_ratio(routed, teacher, context, confidence)
        rivals = [expert for expert in languages if expert != language]
        if rivals:
            rival = min(rivals, key=lambda expert: float(experts[expert].sum()))
            ratio = paired_ratio(experts[rival], own, context, confidence)
            found["next_best_to_own"][language] = {"rival": rival, **ratio}
    return found
