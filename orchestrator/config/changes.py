"""Changes of a recipe: dotted fields and their values, as sweeps hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from orchestrator.config.problems import fields_at
from orchestrator.config.recipe import Recipe
from orchestrator.plugins import suggest


def _known_field(dotted: str) -> str:
    """The dotted name of a recipe field; options of plug-ins are checked when recipes are made."""
    keys = dotted.split(".")
    for depth, key in enumerate(keys):
        known = fields_at(Recipe, keys[:depth])
        if known and key not in known:
            place = ".".join(keys[:depth]) or "the recipe"
            message = f"there is no field {key!r} in {place}; {suggest(key, known)}"
            raise PydanticCustomError("field", "{message}", {"message": message})
    return dotted


RecipeField = Annotated[str, AfterValidator(_known_field)]


def _dotted(changes: Any) -> Any:
    """Changes whose sections are written as sections: each field by its dotted name, so that the others stay.

    What names a plug-in replaces it, as over a recipe's own base.
    """
    if not isinstance(changes, Mapping):
        return changes
    found: dict[Any, Any] = {}
    for key, value in changes.items():
        is_section = isinstance(value, Mapping) and value and "type" not in value
        found |= {f"{key}.{field}": below for field, below in _dotted(value).items()} if is_section else {key: value}
    return found


Dotted = BeforeValidator(_dotted)
Changes = Annotated[dict[RecipeField, Any], Dotted]
