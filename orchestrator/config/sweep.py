"""A sweep: one recipe, changed field by field, each configuration trained with every seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from orchestrator.config.base import Section
from orchestrator.config.changes import Changes, Dotted, RecipeField
from orchestrator.config.loading import based, set_dotted, validate
from orchestrator.config.names import Language, Name
from orchestrator.config.recipe import Recipe
from orchestrator.errors import RecipeError
from orchestrator.plugins import suggest


class Range(Section):
    """Values of one field that a search takes: numbers between `low` and `high`, or one of `choices`."""

    low: int | float | None = None
    """Lowest value."""
    high: int | float | None = None
    """Highest value; where both are whole numbers, values are."""
    log: bool = False
    """Take logarithms evenly, as for learning rates."""
    choices: tuple[Any, ...] = ()
    """The values, where they are not a range of numbers."""

    @model_validator(mode="after")
    def _numbers_or_choices(self) -> Range:
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None and not (0 if self.log else -math.inf) < self.low < self.high:
            raise ValueError("low must be below high, and with log above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def rounded(self, value: Any) -> Any:
        """A number of the range to four digits, so that the name of a configuration tells all of it."""
        if self.low is None or self.high is None or self.whole:
            return value
        return min(max(float(f"{value:.4g}"), self.low), self.high)


class Search(Section):
    """Configurations that are sampled."""

    type: Literal["random", "optuna"] = "random"
    """Drawn independently before anything starts; or one after the other by Optuna, from the results so far."""
    samples: int = Field(ge=1)
    """How many, each run with every seed."""
    space: dict[RecipeField, Range] = Field(min_length=1)
    """Dotted recipe field -> what it may be."""
    seed: int = Field(0, ge=0)
    """Seed of the sampling."""


class Asha(Section):
    """Asynchronous successive halving (arXiv:1810.05934): trials that are behind at a rung are stopped.

    It prunes on noise where effects are as small as 0.01 nat: for learning rates, not for comparing losses.
    """

    grace_steps: int = Field(ge=1)
    """Optimizer steps that every trial takes: the first rung."""
    reduction_factor: int = Field(3, ge=2)
    """One in so many goes on at each rung; the next rung is as many times further."""


class Reference(Section):
    """A number of the paper, shown beside ours."""

    what: str
    """What was measured."""
    paper: float
    """The paper's figure: a difference of losses."""
    ours: tuple[str, str]
    """The configurations whose difference, first minus second, is ours."""
    source: str
    """Where in the paper."""


class Sweep(Section):
    """Models trained over and over from shared data, a trial for each configuration and each seed.

    Configurations are the product of `configurations` with `grid`, or with what `search` samples.
    """

    name: Name
    """Name of the sweep: its folder under `runs/`."""
    description: str = ""
    """What it asks, in a sentence or two; shown in the report."""
    base: str
    """The recipe that is changed, relative to the sweep's file."""
    overrides: Changes = Field(default_factory=dict)
    """Changes that all trials share: dotted recipe field -> value."""
    configurations: dict[str, Changes] = Field(default_factory=dict)
    """Changes by the name of the configuration; the first is what the others are compared with."""
    grid: Annotated[dict[RecipeField, Annotated[list[Any], Field(min_length=1)]], Dotted] = Field(default_factory=dict)
    """Dotted recipe field -> its values, every one with every other."""
    search: Search | None = None
    """Sampled configurations, in the place of a grid."""
    train: Literal["experts", "teacher"] = "experts"
    """What a trial trains."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field((1, 2), min_length=1)
    """Seeds of that training. What comes before is shared, so trials of one seed differ in their configuration only."""
    languages: tuple[Language, ...] = ()
    """Experts trained in each trial; none: the recipe's first language."""
    metric: Literal["final_validation_loss", "best_validation_loss"] = "final_validation_loss"
    """What trials are compared by: their last validation loss, or their lowest."""
    asha: Asha | None = None
    """Stop trials that are behind; null: all run to their end."""
    equal_time: dict[str, str] = Field(default_factory=dict)
    """Configuration -> another, whose time it gets: it is run once more, as "NAME, equal time", with as many tokens as
    it can train in the time that the other takes."""
    references: tuple[Reference, ...] = ()
    """The paper's numbers."""

    @model_validator(mode="before")
    @classmethod
    def _no_fields_of_the_recipe(cls, tree: Any) -> Any:
        known = set(Recipe.model_fields) - set(cls.model_fields)
        if isinstance(tree, Mapping) and (found := sorted(known & set(map(str, tree)))):
            raise ValueError(f"{found[0]} is of the recipe: for all trials, it is overrides.{found[0]}")
        return tree

    @model_validator(mode="after")
    def _fits_together(self) -> Sweep:
        if not (self.configurations or self.grid or self.search):
            raise ValueError("give configurations, a grid or a search")
        if self.search and self.grid:
            raise ValueError("a search takes the place of the grid: put its fields into search.space")
        if self.search and self.search.type == "optuna" and self.configurations:
            raise ValueError("optuna chooses the configurations: put what they change into search.space as choices")
        if self.train == "teacher" and self.languages:
            raise ValueError("languages are those of experts; a teacher is trained on all")
        if self.asha and len(self.languages) > 1:
            raise ValueError("early stopping compares single trainings: give one language")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is there twice")
        varied = (
            *self.grid,
            *(self.search.space if self.search else ()),
            *itertools.chain(*self.configurations.values()),
        )
        if any(field.startswith("experts.vocabulary") for field in varied):
            raise ValueError(
                "trials are compared by losses over their tokens, which experts.vocabulary changes: make runs of it, "
                "and compare their bits per byte"
            )
        self._check_names()
        return self

    def _check_names(self) -> None:
        known = [configuration.name for configuration in configurations(self)]
        timed = [equal_time_name(name) for name in self.equal_time]
        named = [("equal_time", name, known) for pair in self.equal_time.items() for name in pair]
        named += [("references", name, known + timed) for reference in self.references for name in reference.ours]
        for where, name, names in named:
            if name not in names:
                raise ValueError(f"{where}: there is no configuration {name!r}; {suggest(name, names)}")

    def trained(self, recipe: Recipe) -> tuple[str, ...]:
        """Names of the steps that a trial runs."""
        if self.train == "teacher":
            return ("teacher",)
        return tuple(f"expert-{language}" for language in self.languages or tuple(recipe.corpus.languages)[:1])


@dataclass(frozen=True)
class Configuration:
    """What sets some trials apart from the others of a sweep.

    Attributes:
        name: for people, unique in the sweep.
        changes: dotted recipe field -> value.
    """

    name: str
    changes: Mapping[str, Any]


def configurations(sweep: Sweep) -> tuple[Configuration, ...]:
    """Those known before anything runs, in order: none of an Optuna search, no equal-time controls."""
    if sweep.search:
        values = [] if sweep.search.type == "optuna" else _sampled(sweep.search)
    else:
        values = [dict(zip(sweep.grid, row, strict=True)) for row in itertools.product(*sweep.grid.values())]
    named: Iterable[tuple[str, Changes]] = sweep.configurations.items() or [("", {})]
    return tuple(
        Configuration(", ".join(filter(None, (name, configuration_name(value)))), {**changes, **value})
        for (name, changes), value in itertools.product(named, values)
    )


def configuration_name(changes: Mapping[str, Any]) -> str:
    """Fields by their last names with their values; a plug-in reads as a call: ``schedule=fixed(alpha=0.5)``."""
    last = [field.rpartition(".")[2] for field in changes]
    names = [name if last.count(name) == 1 else field for field, name in zip(changes, last, strict=True)]
    return ", ".join(f"{name}={_shown(value)}" for name, value in zip(names, changes.values(), strict=True))


def equal_time_name(name: str) -> str:
    """Name of the equal-time control of a configuration."""
    return f"{name}, equal time"


def base_recipe(sweep: Sweep, file: Path) -> Recipe:
    """The recipe that trials change, under the sweep's name; `file` is where the sweep was read from.

    Raises:
        RecipeError: see :func:`orchestrator.config.loading.load_recipe`; a language that the recipe lacks.
    """
    recipe = _recipe(sweep, file, {}, "overrides")
    languages = tuple(recipe.corpus.languages)
    for language in sweep.languages:
        if language not in languages:
            fix = suggest(language, languages)
            raise RecipeError(f"the recipe has no language {language!r}", f"{file}: languages", fix)
    return recipe


def trial_recipe(sweep: Sweep, file: Path, configuration: Configuration, seed: int) -> Recipe:
    """The recipe of a trial.

    Raises:
        RecipeError: the configuration's changes don't make a valid recipe.
    """
    changes = {**configuration.changes, f"{sweep.train}.training.seed": seed}
    return _recipe(sweep, file, changes, f"configuration {configuration.name!r}")


def _recipe(sweep: Sweep, file: Path, changes: Mapping[str, Any], what: str) -> Recipe:
    path = file.parent / sweep.base
    tree, lines = based(path)
    for field, value in {**sweep.overrides, **changes, "name": sweep.name, "description": sweep.description}.items():
        tree = set_dotted(tree, field.split("."), value)
        lines.overridden.add(tuple(field.split(".")))  # no line of the recipe has this value
    try:
        return validate(Recipe, tree, path, lines)
    except RecipeError as error:
        raise RecipeError(error.what, f"{file}: {what}", error.fix) from None


def _sampled(search: Search) -> list[dict[str, Any]]:
    """Drawn from the search's seed; what is drawn twice is there once."""
    import numpy as np

    random = np.random.default_rng(search.seed)
    drawn = [{f: draw(r, float(random.random())) for f, r in search.space.items()} for _ in range(search.samples)]
    return [values for index, values in enumerate(drawn) if values not in drawn[:index]]


def draw(values: Range, share: float) -> Any:
    """The value that lies at `share` (0 to below 1) of a range."""
    if values.low is None or values.high is None:
        return values.choices[int(share * len(values.choices))]
    if values.log:
        found = math.exp(math.log(values.low) + share * math.log(values.high / values.low))
    else:
        found = values.low + share * (values.high - values.low + values.whole)
    return int(found) if values.whole else values.rounded(found)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        options = ", ".join(f"{key}={_shown(item)}" for key, item in value.items() if key != "type")
        return str(value.get("type", "")) + (f"({options})" if options else "")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "none" if value is None else str(value)
