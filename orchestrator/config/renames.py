"""Keys that had another name: a person's old one is refused, and the new one named; what a run recorded is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RENAMED: Mapping[str, Mapping[str, str]] = {"Recipe": {"mixture": "setup"}}
"""Old dotted key -> new dotted key, by the class that the file holds. ``*`` stands for any one key, a language say."""


def new_name(model: str, keys: Sequence[str | int]) -> str | None:
    """The new dotted key of one that was renamed; None: this one was not.

    Args:
        model: name of the class that the file holds.
        keys: the path of an unknown key.
    """
    parts = [str(key) for key in keys]
    for old, new in RENAMED.get(model, {}).items():
        pattern = old.split(".")
        if len(pattern) == len(parts) and all(p in ("*", part) for p, part in zip(pattern, parts, strict=True)):
            named = iter([part for p, part in zip(pattern, parts, strict=True) if p == "*"])
            return ".".join(next(named) if part == "*" else part for part in new.split("."))
    return None


def by_new_names(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe that an earlier MoME has recorded with a run, by the names of now: plain data in, plain data out."""
    names = RENAMED["Recipe"]
    found = {names.get(key, key): value for key, value in recipe.items()}
    if found.get("study") and "type" not in found["study"]:
        found["study"] = {"type": "paper", **found["study"]}
    return found
