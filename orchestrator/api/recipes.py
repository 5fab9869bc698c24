"""From what a caller gives to a recipe, or to the file of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from orchestrator.config.loading import Lines, apply_override, load_recipe, read_yaml, validate
from orchestrator.config.recipe import Recipe
from orchestrator.config.sweep import Sweep
from orchestrator.errors import RecipeError
from orchestrator.plugins import suggest

SHIPPED = Path(__file__).parents[2] / "jobs" / "recipes"
"""The recipes and sweeps that come with MoME, in a clone and in an installation."""
Kind = Literal["recipe", "sweep"]
_OWN = {
    "recipe": Recipe.model_fields.keys() - Sweep.model_fields.keys(),
    "sweep": Sweep.model_fields.keys() - Recipe.model_fields.keys() - {"base"},  # which a recipe may have, too
}
"""Fields that only one of both has."""


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


def recipe_file(recipe: Path | str, kind: Kind = "recipe") -> Path:
    """The file that is meant: of this path, or of this name among those of its kind that come with MoME.

    Raises:
        RecipeError: it is a name, and neither a file nor one that comes with MoME; or it is of the other kind.
    """
    path = Path(recipe)
    shipped = SHIPPED / f"{path}.yaml"
    is_name = len(path.parts) == 1 and not path.suffix
    if is_name and not path.exists() and not shipped.is_file():
        known = sorted(file.stem for file in SHIPPED.glob("*.yaml") if _kind(file, kind) == kind)
        fix = f"{suggest(str(path), known)}; or give a {kind}'s file"
        raise RecipeError(f"no {kind} of this name comes with MoME, and it is no file", str(path), fix)
    file = shipped if is_name and not path.is_file() and shipped.is_file() else path
    if file.is_file() and _kind(file, kind) != kind:
        what, command = ("a sweep", "mome sweep") if kind == "recipe" else ("a recipe", "mome run")
        raise RecipeError(f"this is {what}, and a {kind} is asked for", str(file), f"{command} {path}")
    return file


def _kind(file: Path, asked: Kind) -> Kind:
    """What a file holds, by its fields; `asked`: where none tells."""
    other: Kind = "sweep" if asked == "recipe" else "recipe"
    keys = read_yaml(file)[0].keys()
    return other if keys & _OWN[other] and not keys & _OWN[asked] else asked
