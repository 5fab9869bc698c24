"""From a YAML file and dotted overrides to a validated recipe, with errors that name the line and the remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from orchestrator.config.problems import Key, told
from orchestrator.config.recipe import Recipe
from orchestrator.config.variables import expand
from orchestrator.config.yaml_text import compose, construct, parse
from orchestrator.errors import PluginError, RecipeError
from orchestrator.plugins import find, suggest

Model = TypeVar("Model", bound=BaseModel)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and validate a recipe.

    Args:
        path: a YAML file. ``${NAME}`` and ``${NAME:-default}`` in its strings are environment variables. Its `base` is
            another recipe, relative to it, that it changes; a study's options may name files, likewise.
        overrides: ``section.field=value`` with the value in YAML.

    Raises:
        RecipeError: no such file, not YAML, unknown key (with the nearest known one), bad value; each with its line.
    """
    tree, lines = based(path)
    for override in overrides:
        tree = apply_override(tree, override, lines)
    return validate(Recipe, _with_files(tree, path), path, lines)


def changed(recipe: Recipe, changes: Mapping[str, Any], what: str) -> Recipe:
    """A recipe with dotted fields set to other values; `what` says for what, in errors.

    Raises:
        RecipeError: the result is not a valid recipe.
    """
    tree: dict[str, Any] = recipe.model_dump(mode="json")
    for field, value in changes.items():
        tree = set_dotted(tree, field.split("."), value)
    return validate(Recipe, tree, Path(what), Lines())


class Lines(dict[Key, int]):
    """The line (from 1) of each key of a recipe.

    Attributes:
        texts: numbers and truth values as they are written, by their keys.
        overridden: keys that overrides set, whose values are in no file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[Key, str] = {}
        self.overridden: set[Key] = set()


def based(path: Path) -> tuple[dict[str, Any], Lines]:
    """A recipe's tree with what it takes over from its base; the lines are those of its own keys.

    Raises:
        RecipeError: see :func:`read_yaml`.
    """
    tree, lines = read_yaml(path)
    base = tree.pop("base", None)
    if base is None:
        return tree, lines
    below, of_base = based(path.parent / str(base))
    lines.texts = of_base.texts | lines.texts
    return _merged(below, tree), lines


def _merged(base: Any, change: Any) -> Any:
    """`change` over `base`: mappings key by key, unless `change` names a plug-in, which comes without old options."""
    if not (isinstance(base, Mapping) and isinstance(change, Mapping)) or "type" in change:
        return change
    return {**base, **{key: _merged(base.get(key), value) for key, value in change.items()}}


def _with_files(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    """The recipe with the content of the files that its study names."""
    study: Any = tree.get("study")
    if not isinstance(study, Mapping) or not isinstance(study.get("type"), str):
        return tree
    try:
        read = find("study", study["type"]).read  # type: ignore[attr-defined]
    except PluginError:  # whoever validates the recipe says so, with the line
        return tree
    return {**tree, "study": read(study, path.parent)}


def load_model(model: type[Model], path: Path, overrides: Sequence[str] = ()) -> Model:
    """As :func:`load_recipe`, for any model (sweep files)."""
    tree, lines = read_yaml(path)
    for override in overrides:
        tree = apply_override(tree, override, lines)
    return validate(model, tree, path, lines)


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """A YAML mapping and the lines of its keys.

    Raises:
        RecipeError: unreadable, not YAML, not a mapping, a key twice, a variable that is not set.
    """
    text = _text(path)
    try:
        tree, lines = deepcopy(_parsed(text, path))
        return expand(tree, str(path)), lines
    except RecursionError:
        raise RecipeError("the recipe is nested too deep, or in itself", str(path)) from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = str(getattr(error, "problem", error)).splitlines()[0]
        fix = "indent with spaces" if "'\\t'" in problem else "look for a quote, bracket or indent that is wrong there"
        raise RecipeError(f"the recipe is not valid YAML: {problem}", where, fix) from None


@lru_cache(maxsize=8)  # every trial of a sweep begins with the same file
def _parsed(text: str, path: Path) -> tuple[Any, Lines]:
    """The content of the file at `path`, and the lines of its keys."""
    root = compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError("a recipe is a mapping of sections", str(path), "mome schema prints what it may hold")
    lines = Lines()
    _add_lines(root, (), path, lines)
    return _whole(construct(root), str(path)), lines


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        there = sorted(other.name for pattern in ("*.yaml", "*.yml") for other in path.parent.glob(pattern))
        fix = f"{suggest(path.name, there)} in {path.parent}" if there else "give a recipe's file"
        raise RecipeError(f"the recipe can't be read: {error.strerror}", str(path), fix) from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "WINDOWS-1252"
        fix = f"if it is text, convert it: iconv -f {encoding} -t UTF-8 {path} > NEW"
        raise RecipeError("the recipe is not UTF-8", f"{path}:{line}", fix) from None


def apply_override(tree: dict[str, Any], override: str, lines: Lines | None = None) -> dict[str, Any]:
    """A copy of the tree with ``a.b.c=value`` set; `lines` notes how the value is written.

    Raises:
        RecipeError: no text, no "=", an empty key, or a value that is not YAML.
    """
    if not isinstance(override, str):
        fix = 'give each as an argument of its own: run(recipe, "seed=3", "name=other")'
        raise RecipeError(f"an override is a text KEY=VALUE, not {override!r}", "overrides", fix)
    dotted, equals, text = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise RecipeError(f"an override is KEY=VALUE, not {override!r}", "command line", "for example seed=3")
    try:
        value = _whole(parse(text), dotted)
    except (yaml.YAMLError, ValueError, RecursionError):
        fix = f"where it is text, quote it twice: '{dotted}=\"…\"'"
        raise RecipeError(f"the value of an override is not YAML: {text!r}", dotted, fix) from None
    if lines is not None:
        lines.texts[tuple(keys)] = text.strip()
        lines.overridden.add(tuple(keys))
    return set_dotted(tree, keys, value)


def set_dotted(tree: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of the tree with the value at a path of keys; a plug-in given by name becomes a mapping on the way."""
    head, *rest = keys
    below = tree.get(head)
    if rest:
        below = {"type": below} if isinstance(below, str) else below if isinstance(below, Mapping) else {}
        value = set_dotted(below, rest, value)
    return {**tree, head: value}


def validate(model: type[Model], tree: Mapping[str, Any], path: Path, lines: Mapping[Key, int]) -> Model:
    """The model of a tree.

    Raises:
        RecipeError: all that is wrong with it, a line each.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        written = _as_written(tree, error, lines)
        if written is not None:
            numbered = Lines()
            numbered.update(lines)
            numbered.overridden = getattr(lines, "overridden", set())
            return validate(model, written, path, numbered)
        problems = [told(model, item, tree, path, lines) for item in error.errors()]
    raise RecipeError("\n".join(problems), str(path), "mome schema prints every field with its documentation")


def _as_written(tree: Mapping[str, Any], error: ValidationError, lines: Mapping[Key, int]) -> dict[str, Any] | None:
    """The tree with text where text is asked for and a number or a truth value was read; None: that is not all."""
    texts = lines.texts if isinstance(lines, Lines) else {}
    changed_tree = dict(tree)
    for item in error.errors():
        keys = tuple(item["loc"])
        path = [key for key in keys if isinstance(key, str)]
        number = item["type"] == "string_type" and isinstance(item["input"], int | float)
        if not number or keys not in texts or len(path) < len(keys):
            return None
        changed_tree = set_dotted(changed_tree, path, texts[keys])
    return changed_tree


def _add_lines(node: yaml.Node, keys: Key, path: Path, lines: Lines) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            line, name = key.start_mark.line + 1, key.value if isinstance(key, yaml.ScalarNode) else ""
            if name in seen:
                raise RecipeError(f"the key {name!r} is there twice", f"{path}:{line}", "keep one of them")
            seen.add(name)
            lines[(*keys, name)] = line
            _add_lines(value, (*keys, name), path, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*keys, index)] = item.start_mark.line + 1
            _add_lines(item, (*keys, index), path, lines)
    elif isinstance(node, yaml.ScalarNode) and not node.style:
        lines.texts[keys] = node.value


def _whole(value: Any, where: str) -> Any:
    """The value, of which no text holds half a surrogate pair, which no file could keep.

    Raises:
        RecipeError: one does.
    """
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise RecipeError("a text holds half a surrogate pair (\\ud800 to \\udfff)", where, "write it again") from None
    return value
