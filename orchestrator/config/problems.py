"""What is wrong with a recipe, in words: the line or the override, the key, and the nearest key there is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from orchestrator.config.names import PATTERNS
from orchestrator.config.renames import new_name
from orchestrator.plugins import suggest

Key = tuple[str | int, ...]
_SHAPES = {
    **dict.fromkeys(("tuple_type", "list_type"), "has to be a list: […, …]"),
    **dict.fromkeys(("dict_type", "model_type"), "has to be a mapping: {KEY: VALUE}"),
}
"""What a value has to be, by pydantic's name for it; its own words are Python's."""


def told(model: type[BaseModel], error: Any, tree: Any, path: Path, lines: Mapping[Key, int]) -> str:
    """One of the errors that pydantic lists, as a line.

    Args:
        model: that was to be made.
        error: an item of `ValidationError.errors()`.
        tree: that it was to be made of.
        path: of its file.
        lines: of its keys there; see :class:`orchestrator.config.loading.Lines`.
    """
    keys = _written(error["loc"], tree)
    place = _place(keys, path, lines)
    message = in_words(error)
    if error["type"] == "extra_forbidden":
        renamed = new_name(model.__name__, keys)
        hint = f'it is called "{renamed}" now' if renamed else suggest(str(keys[-1]), fields_at(model, keys[:-1]))
        message = f"unknown key; {hint}"
    elif error["type"] not in ("plugin", "field", "missing") and not isinstance(error["input"], Mapping):
        message += f", not {error['input']!r}"
    dotted = ".".join(_shown(str(key)) for key in keys)
    return ": ".join(filter(None, (place, dotted, message)))


def in_words(error: Any) -> str:
    """What is wrong with a value, by an item of `ValidationError.errors()`."""
    message: str = _SHAPES.get(error["type"], error["msg"].removeprefix("Value error, "))
    return PATTERNS.get(error["ctx"]["pattern"], message) if error["type"] == "string_pattern_mismatch" else message


def _written(location: Key, tree: Any) -> Key:
    """The keys of a location, without steps of pydantic's own: "function-after[…]", members of a union."""
    keys: Key = ()
    for key in location:
        there = key in tree if isinstance(tree, Mapping) else isinstance(tree, list) and isinstance(key, int)
        if there:
            tree = tree[key]
        if there or isinstance(key, int) or re.fullmatch(r"[\w.-]+", key):  # a name that is not there is missing
            keys = (*keys, key)
    return keys


def _shown(key: str) -> str:
    """A key, in quotes where it has blanks that nobody sees."""
    return key if key == key.strip() else repr(key)


def _place(keys: Key, path: Path, lines: Mapping[Key, int]) -> str:
    """Where the value of a key comes from: a line of the file, an override, or a line that an override adds to."""
    known = next((keys[:end] for end in range(len(keys), 0, -1) if keys[:end] in lines), ())
    place = f"{path}:{lines[known]}" if known else str(path)
    for given in sorted(getattr(lines, "overridden", ()), key=str):
        override = f"override {'.'.join(map(str, given))}=…"
        if given == keys[: len(given)]:
            return override
        if keys and keys == given[: len(keys)]:
            return f"{place}, with the {override}"
    return place


def fields_at(model: type[BaseModel], keys: Sequence[str | int]) -> list[str]:
    """Field names of the section at a path of keys; none below a plug-in or a mapping, whose keys are open."""
    current: Any = model
    for key in keys:
        if isinstance(current, type) and issubclass(current, BaseModel):
            info = current.model_fields.get(str(key))
            current = info.annotation if info else None
        else:  # a mapping: dict[Language, Section]
            current = (get_args(current) or (None,))[-1]
        sections = [a for a in get_args(current) if isinstance(a, type) and issubclass(a, BaseModel)]
        if sections and not str(current).startswith("dict"):
            current = sections[0]
    closed = isinstance(current, type) and issubclass(current, BaseModel) and current.model_config["extra"] == "forbid"
    return list(current.model_fields) if closed else []
