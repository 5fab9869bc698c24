"""Fields of a row: by name, or by a path into nested ones."""

from __future__ import annotations

from math import isnan
from typing import Any

from orchestrator.corpus.reading.contract import Row
from orchestrator.errors import CorpusError

_ABSENT = object()
_NAME = 60
"""Most characters of a field's name in a message."""


def has(row: Row, name: str) -> bool:
    """Whether a row has a field, and it is not null."""
    value = _value(row, name)
    return value is not _ABSENT and value is not None


def value_of(row: Row, name: str) -> Any:
    """The value of a field that a row has; ``a.b`` is `b` of the field `a`, unless a field has that very name."""
    return _value(row, name)


def _value(row: Row, name: str) -> Any:
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if value is None:  # what a null holds is null
            return None
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def top(name: str) -> tuple[str, ...]:
    """Fields of a row that a name may lead into: itself, and what stands before its first dot."""
    return tuple(dict.fromkeys((name, name.partition(".")[0])))


def field(row: Row, name: str, where: str, option: str = "") -> str:
    """A text field of a row; bytes are read as UTF-8. `option` of the source names it, where that is free to choose.

    Raises:
        CorpusError: it is missing, null or no text.
    """
    value = _value(row, name)
    if isinstance(value, str):
        return value
    if value is _ABSENT:
        known = ", ".join(map(_shortened, names(row)))
        fix = f"name the field as {option}" if option else "use another source"
        raise CorpusError(f"there is no field {name!r}", where=where, fix=f"{fix}; fields here: {known}")
    problem = "is null" if value is None else f"is no text but {type(value).__name__}"
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            problem = "is bytes that are not UTF-8"
    fix = "mend or remove the row, or name another field" + (f" as {option}" if option else "")
    if isinstance(value, dict) and value:
        fix = f"name a field inside: {', '.join(f'{name}.{inner}' for inner in value)}"
    raise CorpusError(f"field {name!r} {problem}", where=where, fix=fix)


def _shortened(name: str) -> str:
    """A name of a field for a message: of a table without names the first row's cells, which may be whole texts."""
    line = " ".join(name.split())
    return line if len(line) <= _NAME else f"{line[:_NAME]}…"


def optional(row: Row, *names: str) -> str:
    """The first of some fields that holds a text or a number, as text; "" where none does."""
    for name in names:
        value = _value(row, name)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        missing = value is None or value == "" or isinstance(value, bool) or (isinstance(value, float) and isnan(value))
        if not missing and isinstance(value, str | int | float):
            return str(value)
    return ""


def names(row: Row) -> list[str]:
    """Fields of a row, those inside of others with the path that leads there."""
    return [
        name
        for key, value in row.items()
        for name in ([f"{key}.{inner}" for inner in value] if isinstance(value, dict) and value else [str(key)])
    ]
