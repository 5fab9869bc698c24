"""Plug-ins by name: a room is a package, a plug-in is one frozen dataclass in one file of it.

There is no registry to edit: ``create("losses", "reverse_kl", {"temperature": 2.0})`` imports
``orchestrator.losses.reverse_kl`` and builds the one public dataclass defined there. Files whose name begins with an
underscore are a room's helpers. Names may be written with hyphens (``gpt2-medium``).
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import PluginError

BESIDE = ("benchmarks",)
"""Rooms that are packages beside this one."""


def available(room: str) -> tuple[str, ...]:
    """Names of the plug-ins of a room ("losses", "corpus.sources", …), sorted."""
    package = importlib.import_module(_package(room))
    return tuple(
        sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not (m.ispkg or m.name.startswith("_")))
    )


@cache
def find(room: str, name: str) -> type:
    """The dataclass of plug-in `name` in `room`.

    Raises:
        PluginError: no such plug-in (with the nearest names), or its file does not hold exactly one public dataclass.
    """
    module_name = name.replace("-", "_")
    if module_name not in available(room):
        raise PluginError(f"there is no {room} plug-in {name!r}", where=room, fix=suggest(name, available(room)))
    module = importlib.import_module(f"{_package(room)}.{module_name}")
    classes = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and dataclasses.is_dataclass(value)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    if len(classes) != 1:
        raise PluginError(
            f"a plug-in file holds exactly one public dataclass, this one holds {len(classes)}",
            where=str(module.__file__),
            fix="begin the names of helper classes with an underscore",
        )
    return classes[0]


def create(room: str, name: str, options: Mapping[str, Any]) -> Any:
    """Build plug-in `name` of `room` with validated options.

    Raises:
        PluginError: unknown plug-in, unknown option, or an option of the wrong type or value.
    """
    cls = find(room, name)
    fields = [f.name for f in dataclasses.fields(cls) if f.init]
    for key in options:
        if key not in fields:
            raise PluginError(f"{name!r} has no option {key!r}", where=f"{room}.{name}", fix=suggest(key, fields))
    try:
        return _adapter(cls).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        fix = "put it in quotes" if first["type"] == "string_type" and isinstance(first["input"], int | float) else ""
        raise PluginError(f"option {option!r} of {name!r}: {first['msg']}", f"{room}.{name}", fix) from None


def sources_of(cls: type) -> tuple[str, ...]:
    """Modules whose source defines plug-in class `cls`: its own and those of the dataclasses it builds on."""
    return tuple(base.__module__ for base in cls.__mro__ if base.__module__.startswith("orchestrator."))


def _package(room: str) -> str:
    return room if room in BESIDE else f"orchestrator.{room}"


def suggest(word: str, known: Iterable[str]) -> str:
    """«did you mean "x"?» for a near name, otherwise the names there are."""
    names = list(known)
    near = difflib.get_close_matches(word, [*names, *(n.replace("_", "-") for n in names)], n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else "known: " + ", ".join(names)


@cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)
