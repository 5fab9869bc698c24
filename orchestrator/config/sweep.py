"""A sweep: one recipe, changed field by field, with every combination of values and every seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from orchestrator.config.base import Section
from orchestrator.config.loading import read_yaml, set_dotted, validate
from orchestrator.config.recipe import Language, Name, Recipe
from orchestrator.errors import RecipeError
from orchestrator.plugins import suggest

SEED_FIELD = "experts.training.seed"


class Sweep(Section):
    """Experts distilled over and over from one teacher, a trial for each combination of `grid` and each seed."""

    name: Name
    """Name of the sweep: its folder under `runs/`."""
    description: str = ""
    """What it asks, in a sentence or two; shown in the report."""
    base: str
    """The recipe that is changed, relative to the sweep's file."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Changes that all trials share: dotted recipe field -> value."""
    grid: dict[str, list[Any]] = Field(min_length=1)
    """Dotted recipe field (of `experts`) -> its values; the first combination is what the others are compared with."""
    seeds: tuple[int, ...] = Field((1, 2), min_length=1)
    """Seeds of the experts' training. Data and teacher are shared, so trials of one seed differ only in the grid."""
    languages: tuple[Language, ...] = ()
    """Experts trained in each trial; none: the recipe's first language."""
    metric: Literal["final_validation_loss", "best_validation_loss"] = "final_validation_loss"
    """What trials are compared by: their last validation loss, or their lowest."""

    def experts(self, recipe: Recipe) -> tuple[str, ...]:
        """Names of the steps that a trial runs."""
        return tuple(f"expert-{language}" for language in self.languages or tuple(recipe.corpus.languages)[:1])


def base_recipe(sweep: Sweep, file: Path) -> Recipe:
    """The recipe that every trial shares, under the sweep's name; `file` is where the sweep was read from.

    Raises:
        RecipeError: see :func:`orchestrator.config.loading.load_recipe`; a language or field that can't be swept.
    """
    recipe = _recipe(sweep, file, {})
    languages = tuple(recipe.corpus.languages)
    for language in sweep.languages:
        if language not in languages:
            raise RecipeError(
                f"the recipe has no language {language!r}", f"{file}: languages", suggest(language, languages)
            )
    for field in sweep.grid:
        if not field.startswith("experts."):
            fix = "write a sweep for each value, or set it in `overrides`"
            raise RecipeError(f"a grid is over fields of `experts`, {field!r} is not one", f"{file}: grid", fix)
    return recipe


def combinations(sweep: Sweep, file: Path) -> Iterator[tuple[Mapping[str, Any], int, Recipe]]:
    """(grid values, seed, recipe) of each trial, every configuration of one seed before the next seed.

    Raises:
        RecipeError: a combination that is not a valid recipe.
    """
    for seed in sweep.seeds:
        for values in itertools.product(*sweep.grid.values()):
            config = dict(zip(sweep.grid, values, strict=True))
            yield config, seed, _recipe(sweep, file, {**config, SEED_FIELD: seed})


def _recipe(sweep: Sweep, file: Path, changes: Mapping[str, Any]) -> Recipe:
    path = file.parent / sweep.base
    tree, lines = read_yaml(path)
    for field, value in {**sweep.overrides, **changes, "name": sweep.name, "description": sweep.description}.items():
        tree = set_dotted(tree, field.split("."), value)
    return validate(Recipe, tree, path, lines)
