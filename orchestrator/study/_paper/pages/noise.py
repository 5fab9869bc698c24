"""How far a difference of validation losses could be off, where losses of blocks are not kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.study._paper.pages.data import Findings
from orchestrator.works import MIN_WORKS


def block_noise(study: Findings, languages: Sequence[str]) -> float | None:
    """Half-width of the interval of a difference between validation losses of one training, as an estimate.

    Losses of blocks are kept for the final models, not for every evaluation along the way. So the spread between
    blocks is taken from two models that differ a good deal, a language's expert and the teacher, on the held-out text,
    and the number of blocks is that of a validation. None where there is no evaluation, or it has fewer than three
    works.
    """
    from scipy.special import ndtri

    evaluation = next((found for setup in study.setups.values() for found in setup.evaluations.values()), None)
    if evaluation is None:
        return None
    most = study.recipe["experts"]["training"]["eval_blocks"]
    variances = []
    for language in languages:
        differences = evaluation.losses(language, language) - evaluation.losses("teacher", language)
        blocks = min(most, study.main["corpus"][language]["validation"]["blocks"])
        works = evaluation.by_work(language, differences)
        of_mean = float(np.var(works, ddof=1)) / len(works) if len(works) >= MIN_WORKS else math.nan
        variances.append(of_mean * len(differences) / blocks)
    half = float(ndtri((1 + study.confidence) / 2)) * math.sqrt(sum(variances)) / len(languages)
    return half if math.isfinite(half) else None
