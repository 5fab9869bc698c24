"""What can change about a mixture that exists, and the recipe it then has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from orchestrator.config.base import build
from orchestrator.config.loading import apply_override, validate
from orchestrator.config.names import Language
from orchestrator.config.recipe import Recipe
from orchestrator.errors import RecipeError
from orchestrator.mixtures.version import Version

_LINE = "command line"


@dataclass(frozen=True)
class Change:
    """What is to change.

    Attributes:
        kind: add an expert, remove one, or train one anew.
        language: of the expert.
        text: the recipe's entry for the language (source, kind), as plain data; None: the text that is there.
        teacher: folder or hub name of a pretrained teacher; None: the run's.
        overrides: ``section.field=value``, of what is done now.
    """

    kind: Literal["add", "remove", "replace"]
    language: str
    text: Mapping[str, Any] | None = None
    teacher: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        """What lineage says of it."""
        return f"{self.kind} {self.language}"


def changed_recipe(change: Change, version: Version) -> Recipe:
    """The recipe of the mixture to be.

    Raises:
        RecipeError: the language is there, or is not; the last expert is to go; an override touches what is fixed.
    """
    _check_language(change, version)
    before = validate(Recipe, {**version.recipe, "study": None}, version.folder, {})
    tree = before.model_dump(mode="json")
    languages = tree["corpus"]["languages"]
    if change.text is not None:
        languages[change.language] = dict(change.text)
    if change.kind == "remove":
        del languages[change.language]
    elif is_joint(before):  # a joint mixture's new expert is its last
        languages[change.language] = languages.pop(change.language)
    for override in change.overrides:
        tree = apply_override(tree, override)
    recipe = validate(Recipe, tree, Path(_LINE), {})
    _check_fixed(change, before, recipe)
    if recipe.experts.distillation.alignment is not None:
        fix = "run the recipe anew with the languages that the mixture is to have"
        raise RecipeError("a mixture of experts with other tokens than the teacher's can't be changed", _LINE, fix)
    if change.teacher is not None and not recipe.experts.needs_teacher:
        fix = "leave --teacher out, or set experts.distillation.soft=reverse_kl"
        raise RecipeError("the recipe's experts learn without a teacher", "experts.distillation.soft", fix)
    return recipe


def _check_language(change: Change, version: Version) -> None:
    language, there = change.language, ", ".join(version.languages)
    try:
        TypeAdapter(Language).validate_python(language)
    except ValidationError:
        fix = "a language is named by letters, digits, - and _, beginning with a letter: es, pt-BR"
        raise RecipeError(f"{language!r} is no name for a language", _LINE, fix) from None
    if change.kind == "add" and language.lower() in map(str.lower, version.languages):
        fix = f"mome expert replace {version.run} {language} trains it anew"
        raise RecipeError(f"the mixture has an expert for {language!r} ({there})", _LINE, fix)
    if change.kind != "add" and language not in version.languages:
        raise RecipeError(f"the mixture has no expert for {language!r}", _LINE, f"it has: {there}")
    if change.kind == "remove" and len(version.languages) == 1:
        fix = "add another expert first"
        raise RecipeError(f"{language!r} is the last expert: a mixture has at least one", _LINE, fix)
    if change.kind == "replace" and not (change.text or change.teacher or change.overrides):
        fix = "give --source, --teacher, or a field: seed=5, experts.training.tokens=200000"
        raise RecipeError(f"nothing is said to be different about {language!r}", _LINE, fix)


def _check_fixed(change: Change, before: Recipe, after: Recipe) -> None:
    """What the mixture's experts share can't change with one of them.

    Raises:
        RecipeError: an override does.
    """

    def fixed(recipe: Recipe) -> dict[str, Any]:
        tree = recipe.model_dump(mode="json")
        experts, blocks, languages = tree["experts"], tree["blocks"], tree["corpus"]["languages"]
        for free in ("seed", "experts", "blocks", "router", "evaluation", "resources", "tracking"):
            del tree[free]
        tree["corpus"] = {name: text for name, text in languages.items() if name != change.language}
        model = {"experts.model": experts["model"]} if is_joint(before) else {}
        return tree | model | {"blocks.context": blocks["context"]}

    kept = fixed(before)
    for name, value in fixed(after).items():
        if value != kept[name]:
            fix = f"mome run RECIPE name=… {name}=… trains another mixture"
            raise RecipeError(f"{name} is the same for all experts of a mixture that exists", _LINE, fix)


def is_joint(recipe: Recipe) -> bool:
    """Whether the mixture's experts are trained together."""
    return bool(build("models.setups", recipe.setup).joint)
