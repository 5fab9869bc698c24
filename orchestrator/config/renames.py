"""Keys that had another name: the old one is refused, and the new one named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RENAMED: Mapping[str, Mapping[str, str]] = {"Recipe": {"mixture": "setup"}}
"""Old dotted key -> new dotted key, by the class that the file holds. ``*`` stands for any one key, a language say."""


def new_name(model: str, keys: Sequence[str | int]) -> str | None:
    """The new dotted key of one that was renamed; None: this one was not.

    Args:
        model: name of the class that the file holds. keys: the path of an unknown key.
    """
    parts = [str(key) for key in keys]
    for old, new in RENAMED.get(model, {}).items():
        pattern = old.split(".")
        if len(pattern) == len(parts) and all(p in ("*", part) for p, part in zip(pattern, parts, strict=True)):
            named = iter([part for p, part in zip(pattern, parts, strict=True) if p == "*"])
            return ".".join(next(named) if part == "*" else part for part in new.split("."))
    return None
