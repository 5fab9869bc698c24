"""Configurations of a sweep compared over paired seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np

from orchestrator.reporting.formats import MISSING

FINISHED = "finished"


class Trial(TypedDict):
    """One trial of a sweep.

    Keys:
        name: of its configuration, for people; the first trial's is the baseline.
        config: the overrides of the recipe (dotted field -> value) that it ran with.
        seed: trials of equal seed are compared with each other.
        curve: (optimizer step, validation loss in nats a token) in order; may be empty.
        final_loss: the trial's result; None where it has none.
        status: "finished", or what became of it ("failed", "stopped"). error: why; "" where it finished.
        weights: (optimizer step, alpha, beta) in order. tokens, seconds: trained on, and in. tokens_per_second: of the
            optimizer steps alone. All of them where it finished.
    """

    name: str
    config: Mapping[str, Any]
    seed: int
    curve: Sequence[tuple[int, float]]
    final_loss: float | None
    status: str
    error: str
    weights: NotRequired[Sequence[tuple[int, float, float]]]
    tokens: NotRequired[int]
    seconds: NotRequired[float]
    tokens_per_second: NotRequired[float]


@dataclass(frozen=True)
class Estimate:
    """A mean with the half-width of its t interval, NaN below two values, over `n` values."""

    mean: float
    margin: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float], confidence: float) -> Estimate:
        """Mean and Student's t interval of independent values; NaN where there are none."""
        from scipy.special import stdtrit

        n = len(values)
        if n < 2:
            return cls(values[0] if values else math.nan, math.nan, n)
        error = float(np.std(values, ddof=1)) / math.sqrt(n)
        return cls(float(np.mean(values)), float(stdtrit(n - 1, (1 + confidence) / 2)) * error, n)

    def __format__(self, sign: str) -> str:
        """Four decimals with the margin, where there is one; "+" shows the sign of the mean, for differences."""
        if not self.n:
            return MISSING
        margin = "" if math.isnan(self.margin) else f" ± {self.margin:.4f}"
        return f"{self.mean:{sign}.4f}{margin}".replace("-", "−")


@dataclass(frozen=True)
class Configuration:
    """Trials that differ only in their seed."""

    label: str
    trials: tuple[Trial, ...]

    @property
    def finished(self) -> list[Trial]:
        """Those that came to their end."""
        return [trial for trial in self.trials if trial["status"] == FINISHED]

    @property
    def losses(self) -> dict[int, float]:
        """Seed -> final loss of the trials that finished with a finite one."""
        found = {trial["seed"]: trial["final_loss"] for trial in self.finished}
        return {seed: loss for seed, loss in found.items() if loss is not None and math.isfinite(loss)}

    def mean(self, confidence: float) -> Estimate:
        """The final loss over the seeds."""
        return Estimate.of(list(self.losses.values()), confidence)

    def minus(self, other: Configuration, confidence: float) -> Estimate:
        """The paired difference of final losses over the seeds that both finished."""
        both = sorted(self.losses.keys() & other.losses)
        return Estimate.of([self.losses[seed] - other.losses[seed] for seed in both], confidence)

    def minus_by_step(self, other: Configuration, confidence: float) -> dict[int, Estimate]:
        """The paired difference of validation losses at every step that both have in every seed that both finished."""
        ours, theirs = ({t["seed"]: dict(t["curve"]) for t in each.finished} for each in (self, other))
        both = sorted(ours.keys() & theirs)
        shared = [set(ours[seed]) & set(theirs[seed]) for seed in both]
        steps = sorted(set.intersection(*shared)) if shared else []
        return {s: Estimate.of([ours[seed][s] - theirs[seed][s] for seed in both], confidence) for s in steps}

    def typical(self, key: str) -> float:
        """Median over the finished trials of a figure ("tokens", "seconds", "tokens_per_second"); NaN without one."""
        found = [float(trial[key]) for trial in self.finished if key in trial]  # type: ignore[literal-required]
        return float(np.median(found)) if found else math.nan


def group(trials: Sequence[Trial]) -> list[Configuration]:
    """Trials by configuration, in the order of their first appearance.

    Raises:
        ValueError: no trials.
    """
    if not trials:
        raise ValueError("a sweep report needs at least one trial")
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial["name"], []).append(trial)
    return [Configuration(label, tuple(members)) for label, members in found.items()]
