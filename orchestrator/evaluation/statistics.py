"""Intervals: bootstrap over blocks, Wilson for shares, Student's t for paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_DRAWS = 2**22
"""Draws held in memory at once while resampling (32 MiB)."""


def resampled_means(values: ArrayLike, samples: int, seed: int | Sequence[int]) -> NDArray[np.float64]:
    """Means of bootstrap resamples of the rows (Efron, 1979).

    All columns share each resample, so differences between columns are paired.

    Args:
        values: float64 [n, K]: n independent units (blocks), K quantities of each.
        samples: resamples to draw.
        seed: of the draws.

    Returns:
        float64 [samples, K].
    """
    rows = np.asarray(values, np.float64)
    count, rng = len(rows), np.random.default_rng(seed)
    means = np.empty((samples, rows.shape[1]))
    size = max(1, MAX_DRAWS // count)
    for start in range(0, samples, size):
        n = min(size, samples - start)
        cells = rng.integers(count, size=(n, count)) + np.arange(n)[:, None] * count
        times_drawn = np.bincount(cells.ravel(), minlength=n * count).reshape(n, count)
        means[start : start + n] = times_drawn @ rows / count
    return means


def percentile_interval(resamples: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The central `confidence` share of resampled values, as (low, high)."""
    low, high = np.quantile(resamples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


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
        mean: of the differences. low, high: ends of its interval. count: number of pairs.
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
