"""Blocks of one text are neighbours, so they are no independent samples of a language: works are.

A work is a document, or the larger work that it is a part of. Standard errors over works are those of a cluster sample
with the mean as a ratio estimator (Cochran, Sampling Techniques, 1977, chapter 9A).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_WORKS = 3
"""With fewer works there is no interval: what they have in common can't be told from what they have not."""


def by_work(values: ArrayLike, works: ArrayLike) -> NDArray[np.float64]:
    """One value for each work, whose mean is the mean over the blocks and whose spread is that between works.

    Linear in `values`: differences and means over models may be taken before or after.

    Args:
        values: float64 [n], of blocks.
        works: int64 [n], the work of each.

    Returns:
        float64 [works], in the order of their numbers.
    """
    blocks = np.asarray(values, np.float64)
    found, index = np.unique(np.asarray(works), return_inverse=True)
    mean = blocks.mean()
    excess = np.bincount(index, blocks - mean, len(found))
    return mean + excess * (len(found) / len(blocks))  # type: ignore[no-any-return]


def independent(works: ArrayLike) -> float:
    """How many works of equal size tell as much as these do; 0 where they are too few for an interval.

    Args:
        works: int64 [n], the work of each block.

    Returns:
        The effective number of clusters, (sum of sizes)² / sum of squared sizes, 2 or more; or 0.
    """
    sizes = np.unique(np.asarray(works), return_counts=True)[1].astype(np.float64)
    number = float(sizes.sum() ** 2 / np.square(sizes).sum())
    return number if len(sizes) >= MIN_WORKS and number >= 2 else 0.0


def expanded(confidence: float, works: float) -> float:
    """The confidence to take percentiles of resamples at, so that few works are covered as Student's t does.

    Percentiles of a bootstrap are too narrow by sqrt((n - 1) / n) and by the normal quantile for Student's (Hesterberg,
    What Teachers Should Know About the Bootstrap, 2015, section 5.1).

    Args:
        confidence: coverage.
        works: how many independent ones were drawn from, 2 or more.
    """
    from scipy.special import ndtr, stdtrit

    quantile = float(stdtrit(works - 1, (1 + confidence) / 2)) * math.sqrt(works / (works - 1))
    return float(1 - 2 * ndtr(-quantile))
