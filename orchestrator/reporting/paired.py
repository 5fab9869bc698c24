"""Two ways to predict the same blocks, compared block by block.

Blocks differ far more from each other than two models do on one block, so intervals of two perplexities overlap long
before a difference between them is in doubt. Blocks of one work are alike, so intervals are over works.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.records import Ratio
from orchestrator.reporting.run_results import Comparisons
from orchestrator.works import by_work, independent

Losses = Mapping[str, NDArray[Any]]
"""The tensors of an evaluation's `block_losses.safetensors`."""


def paired_ratio(
    losses: NDArray[np.float64],
    others: NDArray[np.float64],
    works: NDArray[np.int64],
    context: int,
    confidence: float,
) -> Ratio:
    """Ratio of the perplexity of `losses` to that of `others`, with its interval.

    Args:
        losses, others: float64 [n], nats summed over each of the same n blocks.
        works: int64 [n], the work that each block is of.
        context: tokens of a block.
        confidence: coverage of the interval: Student's t, over the differences of the works.

    Returns:
        "ratio" and its "interval" [low, high]; None with fewer than three works.
    """
    from scipy.special import stdtrit

    differences = by_work((losses - others) / context, works)
    mean, number = float(differences.mean()), independent(works)
    if not number:
        return {"ratio": math.exp(mean), "interval": None}
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    half = float(stdtrit(number - 1, (1 + confidence) / 2)) * error
    return {"ratio": math.exp(mean), "interval": [math.exp(mean - half), math.exp(mean + half)]}


def comparisons(tensors: Losses, languages: Sequence[str], context: int, confidence: float) -> Comparisons:
    """What the summary's sentences rest on, by language.

    Returns:
        "next_best_to_own": the best other expert ("rival") against the language's own, empty with a single language;
        "routed_to_teacher": through the router against the teacher; "frequencies_to_own": guessing by how often each
        token occurs against the language's own expert. Each is a :func:`paired_ratio`.
    """
    found: Comparisons = {"next_best_to_own": {}, "routed_to_teacher": {}, "frequencies_to_own": {}}
    for language in languages:
        experts = {expert: tensors[f"loss/{expert}/{language}"] for expert in languages}
        own, routes, works = experts[language], tensors[f"route/{language}"], tensors[f"works/{language}"]
        routed = np.stack(list(experts.values()))[routes, np.arange(len(own))]
        teacher = tensors[f"loss/teacher/{language}"]
        found["routed_to_teacher"][language] = paired_ratio(routed, teacher, works, context, confidence)
        guessed = tensors[f"loss/frequencies/{language}"]
        found["frequencies_to_own"][language] = paired_ratio(guessed, own, works, context, confidence)
        rivals = [expert for expert in languages if expert != language]
        if rivals:
            rival = min(rivals, key=lambda expert: float(experts[expert].sum()))
            ratio = paired_ratio(experts[rival], own, works, context, confidence)
            found["next_best_to_own"][language] = {"rival": rival, **ratio}
    return found
