"""Optuna's suggestions, each from the results so far alone: whatever was killed meanwhile, the next one is the same."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.config.sweep import Search
from orchestrator.errors import ResourceError

Point = dict[str, Any]
"""Field -> number, or the index of a choice."""


def check_optuna() -> None:
    """Find out early that it is missing.

    Raises:
        ResourceError: Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ResourceError("Optuna is not installed", "search.type", "pip install 'mome-orchestrator[cluster]'")


def suggest(search: Search, number: int, results: Sequence[tuple[Point, float]]) -> Point:
    """Suggestion `number` (from 0), by the tree-structured Parzen estimator over (point, loss) of finished ones."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searcher = OptunaSearch(
        _distributions(search),
        metric="loss",
        mode="min",
        points_to_evaluate=[point for point, _ in results],
        evaluated_rewards=[loss for _, loss in results],
        seed=search.seed + number,
    )
    point = searcher.suggest("next") or {}
    return {field: search.space[field].rounded(value) for field, value in point.items()}


def changes_of(search: Search, point: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's changes that a point stands for."""
    space = search.space
    return {field: space[field].choices[value] if space[field].choices else value for field, value in point.items()}


def _distributions(search: Search) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for field, values in search.space.items():
        if values.choices:  # by index: a choice may be a mapping
            found[field] = CategoricalDistribution(range(len(values.choices)))
        else:
            kind: Any = IntDistribution if values.whole else FloatDistribution
            found[field] = kind(values.low, values.high, log=values.log)
    return found
