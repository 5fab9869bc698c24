"""What every study is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter

from orchestrator.config.recipe import Recipe

if TYPE_CHECKING:
    from orchestrator.pipeline.graph import Step


def _once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is there twice")
    return seeds


Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1), AfterValidator(_once)]
"""Seeds of weights and batch order, each once."""


@dataclass(frozen=True)
class Study(ABC):
    """A plug-in of this room: its fields are the options below `study` in a recipe."""

    @abstractmethod
    def steps(self, recipe: Recipe) -> tuple[Step, ...]:
        """Every step of a run of the recipe, each after its inputs: the main line, the study's own, and "report".

        Step names are unique. Steps of the same `kind` are kept in one folder, and no two of these are equal.

        Raises:
            RecipeError: the options don't fit the recipe.
        """

    @classmethod
    def read(cls, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:  # noqa: ARG003
        """The options with the content of files that they name, before they are validated.

        Args:
            options: as the recipe has them.
            folder: the recipe's, which the names of files are relative to.

        Raises:
            RecipeError: a file can't be read.
        """
        return dict(options)

    def shown(self, recipe: Recipe) -> dict[str, Any]:
        """The recipe as plain data for reports, without resources and tracking, with the study's defaults filled in."""
        data = recipe.model_dump(mode="json", exclude={"resources", "tracking", "study"})
        own = TypeAdapter(type(self)).dump_python(self, mode="json")
        return {**data, "study": {"type": recipe.study.type if recipe.study else "", **own}}
