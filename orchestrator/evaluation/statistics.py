"""Intervals: bootstrap over works, Wilson for shares, Student's t for paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.works import by_work, expanded

MAX_DRAWS = 2**22
"""Draws held in memory at once while resampling (32 MiB)."""


Interval = tuple[float, float]


def resampled_means(
    values: ArrayLike, works: ArrayLike, samples: int, seed: int | Sequence[int]
) -> NDArray[np.float64]:
    """Means over blocks in bootstrap resamples of works (Efron, 1979; a cluster bootstrap).

    A work is drawn with all of its blocks, so a mean is over as many blocks as its works have. All columns share each
    resample, so differences between columns are paired.

    Args:
        values: float64 [n, K]: n blocks, K quantities of each.
        works: int64 [n]: the work that each block is of.
        samples: resamples to draw.
        seed: of the draws.

    Returns:
        float64 [samples, K].
    """
    blocks = np.asarray(values, np.float64)
    index = np.unique(np.asarray(works), return_inverse=True)[1]
    sizes = np.bincount(index).astype(np.float64)
    sums = np.stack([np.bincount(index, column, len(sizes)) for column in blocks.T], axis=1)
    count, rng = len(sizes), np.random.default_rng(seed)
    means = np.empty((samples, blocks.shape[1]))
    size = max(1, MAX_DRAWS // count)
    for start in range(0, samples, size):
        n = min(size, samples - start)
        cells = rng.integers(count, size=(n, count)) + np.arange(n)[:, None] * count
        times_drawn = np.bincount(cells.ravel(), minlength=n * count).reshape(n, count)
        means[start : start + n] = times_drawn @ sums / (times_drawn @ sizes)[:, None]
    return means


def percentile_interval(resamples: NDArray[np.float64], confidence: float, works: float) -> Interval | None:
    """An interval of resampled values, as (low, high): percentiles, further out where works are few.

    Args:
        resamples: of :func:`resampled_means`, or what is computed of each.
        confidence: coverage.
        works: how many independent ones were drawn from, see :func:`orchestrator.works.independent`; None is returned
            where that is 0.
    """
    if not works:
        return None
    share = expanded(confidence, works)
    low, high = np.quantile(resamples, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def share_of_blocks(hits: ArrayLike, works: ArrayLike, confidence: float) -> Interval:
    """Interval of a share of blocks: Wilson's, with as many trials as give a share of independent blocks that spread.

    Where all blocks agree, each work counts as one trial.

    Args:
        hits: bool [n].
        works: int64 [n], the work of each block.
    """
    right = np.asarray(hits, np.float64)
    share, values = float(right.mean()), by_work(right, works)
    trials = float(len(values))
    if 0 < share < 1 and len(values) > 1:
        variance = float(values.var(ddof=1)) / len(values)
        trials = min(float(len(right)), share * (1 - share) / variance) if variance else float(len(right))
    return _wilson(share, trials, confidence)


def _wilson(share: float, trials: float, confidence: float) -> Interval:
    from scipy.special import ndtri

    z2 = float(ndtri((1 + confidence) / 2)) ** 2 / trials
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def wilson(successes: int, count: int, confidence: float) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson, 1927), as (low, high); (0, 1) when nothing was counted."""
    from scipy.stats import binomtest

    if count == 0:
        return 0.0, 1.0
    interval = binomtest(int(successes), int(count)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its interval.

    Attributes:
        mean: of the differences.
        low, high: ends of its interval.
        count: number of pairs.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Difference:
    """Mean of a - b over pairs (for instance two settings trained with the same seeds), with its t interval.

    Args:
        a: float64 [n], n at least 2.
        b: float64 [n]; entries of equal index belong together.
        confidence: coverage of the interval.

    Raises:
        ValueError: lengths differ, or fewer than two pairs.
    """
    from scipy.stats import t

    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            f"a paired interval needs two equally long lists of two or more, not {first.shape}, {second.shape}"
        )
    differences = first - second
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
    half = float(t.ppf((1 + confidence) / 2, len(differences) - 1)) * error
    return Difference(mean, mean - half, mean + half, len(differences))
