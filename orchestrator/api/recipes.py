"""From what a caller gives to a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.config.loading import Lines, apply_override, load_recipe, validate
from orchestrator.config.recipe import Recipe
from orchestrator.errors import RecipeError
from orchestrator.plugins import suggest

SHIPPED = Path(__file__).parents[2] / "jobs" / "recipes"
"""The recipes that come with MoME, in a clone and in an installation."""


def read_recipe(recipe: Recipe | Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe with some fields changed.

    Args:
        recipe: itself, its file, or the name of one that comes with MoME.
        overrides: ``section.field=value``.

    Raises:
        RecipeError: see :func:`orchestrator.config.loading.load_recipe`.
    """
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe_file(recipe), overrides)
    if not overrides:
        return recipe
    lines, tree = Lines(), recipe.model_dump(mode="json")
    for override in overrides:
        tree = apply_override(tree, override, lines)
    return validate(Recipe, tree, Path(f"recipe {recipe.name}"), lines)


def recipe_file(recipe: Path | str) -> Path:
    """The file that is meant: of this path, or of this name among the recipes that come with MoME.

    Raises:
        RecipeError: it is a name, and neither a file nor a recipe that comes with MoME.
    """
    path = Path(recipe)
    shipped = SHIPPED / f"{path}.yaml"
    is_name = len(path.parts) == 1 and not path.suffix
    if is_name and not path.exists() and not shipped.is_file():
        fix = suggest(str(path), sorted(file.stem for file in SHIPPED.glob("*.yaml"))) + "; or give a recipe's file"
        raise RecipeError("no recipe of this name comes with MoME, and it is no file", str(path), fix)
    return shipped if is_name and not path.is_file() and shipped.is_file() else path
