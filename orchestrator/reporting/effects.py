"""Effects with their intervals: over the works of the held-out text, and over seeds where there are several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.reporting.comparison import Estimate
from orchestrator.reporting.formats import MISSING, signed
from orchestrator.works import MIN_WORKS, expanded

BlockLosses = Mapping[str, NDArray[np.float64]]
"""Language -> nats a token of its held-out text, a value for each work: see :func:`orchestrator.works.by_work`."""
Runs = Mapping[int, BlockLosses]
"""Seed -> losses; works are the same for every seed."""
Interval = tuple[float, float]
RESAMPLES = 1000


@dataclass(frozen=True)
class Effect:
    """A number with what is known of its noise.

    Attributes:
        value: mean over the seeds.
        over_blocks: what other held-out text of the same kind could have given, with the same models.
        over_seeds: what other seeds could have given, on the same text: Student's t; None with one seed.
        seeds: how many.
        covered: what `over_blocks` covers, where seeds have nothing to do with it.
    """

    value: float
    over_blocks: Interval | None = None
    over_seeds: Interval | None = None
    seeds: int = 1
    covered: str = ""

    @property
    def interval(self) -> Interval | None:
        """The one that verdicts rest on: over seeds, and with one seed over blocks."""
        return self.over_seeds or self.over_blocks

    @property
    def covers(self) -> str:
        """What that interval covers."""
        if self.covered or self.over_seeds:
            return self.covered or f"{self.seeds} seeds"
        return "one seed, text noise only" if self.over_blocks else "one seed, no interval"

    @property
    def more(self) -> str:
        """What would tell more than one seed does."""
        if self.covered:
            return "Nothing." if self.over_blocks == (self.value, self.value) else "More held-out text."
        return "More seeds (study.seeds): one says nothing of how far others would be from it."

    def transformed(self, function: Any) -> Effect:
        """With an increasing function applied to the value and the ends of the intervals."""

        def both(interval: Interval | None) -> Interval | None:
            return None if interval is None else (function(interval[0]), function(interval[1]))

        return replace(
            self, value=function(self.value), over_blocks=both(self.over_blocks), over_seeds=both(self.over_seeds)
        )

    def data(self) -> dict[str, Any]:
        """For `results.json`."""
        return {
            "value": self.value,
            "interval_over_seeds": self.over_seeds,
            "interval_over_blocks": self.over_blocks,
            "seeds": self.seeds,
        }


def effect(runs: Runs, confidence: float) -> Effect:
    """The mean of losses, or of differences of losses, over blocks, then languages, then seeds.

    Works are resampled within each language (bootstrap, percentiles); losses of several seeds on one work are averaged
    before.
    """
    by_seed = [fmean(float(values.mean()) for values in losses.values()) for losses in runs.values()]
    languages = next(iter(runs.values()))
    blocks = [np.mean([losses[language] for losses in runs.values()], axis=0) for language in languages]
    return Effect(fmean(by_seed), _bootstrap(blocks, confidence), seeds_interval(by_seed, confidence), len(by_seed))


def from_seeds(values: Sequence[float], confidence: float, noise: float | None = None) -> Effect:
    """A number measured once with every seed, and the half-width of its noise over blocks where that is known."""
    mean = fmean(values)
    blocks = None if noise is None else (mean - noise, mean + noise)
    return Effect(mean, blocks, seeds_interval(values, confidence), len(values))


def seeds_interval(values: Sequence[float], confidence: float) -> Interval | None:
    """Student's t interval of independent values; None below two."""
    found = Estimate.of(values, confidence)
    return None if math.isnan(found.margin) else (found.mean - found.margin, found.mean + found.margin)


def minus(runs: Runs, others: Runs) -> Runs:
    """Differences block by block, of the seeds and languages that both have."""
    return {
        seed: {language: losses[language] - others[seed][language] for language in losses if language in others[seed]}
        for seed, losses in runs.items()
        if seed in others
    }


def ratio(part: Runs, whole: Runs, confidence: float) -> Effect | None:
    """The share that a mean is of another one, linearised for its intervals (Cochran, Sampling Techniques, chapter 6).

    Args:
        part, whole: losses or differences of the same seeds, languages and works.
        confidence: coverage.

    Returns:
        None where the whole may be nothing: its interval does not lie above zero.
    """
    total = effect(whole, confidence)
    if total.interval is None or total.interval[0] <= 0:
        return None
    share = effect(part, confidence).value / total.value
    rest = {
        seed: {language: (part[seed][language] - share * values) / total.value for language, values in each.items()}
        for seed, each in whole.items()
    }
    return effect(rest, confidence).transformed(lambda value: value + share)


def only(runs: Runs, language: str) -> Runs:
    """One language."""
    return {seed: {language: losses[language]} for seed, losses in runs.items()}


def nats(found: Effect) -> str:
    """A difference of losses with its sign."""
    return signed(found.value)


def bounds(interval: Interval | None) -> str:
    """An interval of a difference as text; a dash without one."""
    return MISSING if interval is None else f"[{signed(interval[0])}, {signed(interval[1])}]"


def span(found: Effect) -> str:
    """The interval that verdicts rest on, for the note of a cell; "" without one."""
    return bounds(found.interval) if found.interval else ""


def _bootstrap(blocks: Sequence[NDArray[np.float64]], confidence: float) -> Interval | None:
    from scipy.stats import bootstrap

    fewest = min(map(len, blocks))
    if fewest < MIN_WORKS:
        return None

    def mean(*samples: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.mean([sample.mean(axis=axis) for sample in samples], axis=0)  # type: ignore[no-any-return]

    found = bootstrap(
        tuple(blocks), mean, n_resamples=RESAMPLES, batch=100, vectorized=True, method="percentile",
        confidence_level=expanded(confidence, fewest), rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def level(losses: BlockLosses) -> float:
    """The mean over blocks, then languages."""
    return fmean(float(values.mean()) for values in losses.values())


def per_language(runs: Runs, confidence: float) -> Mapping[str, Effect]:
    """The effect on each language by itself."""
    return {language: effect(only(runs, language), confidence) for language in next(iter(runs.values()))}
