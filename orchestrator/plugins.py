"""Plug-ins by name or by import path: a room is a package, a plug-in is one frozen dataclass.

There is no registry to edit. ``create("losses", "reverse_kl", {"temperature": 2.0})`` imports
``orchestrator.losses.reverse_kl`` and builds the one public dataclass of that file; ``create("losses",
"mypackage.losses:Mine", {})`` builds the class `Mine` of somebody else's module. Files whose name begins with an
underscore are a room's helpers; a file ``_presets.py`` names more plug-ins, which are others with other defaults. Names
may be written with hyphens (``gpt2-medium``).

The package of a room says in `PLUGIN` what a plug-in of the room is: a base class or a protocol.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import PluginError
from orchestrator.plugin_options import options_of

ROOMS = (
    *("corpus.sources", "corpus.formats", "corpus.filters", "models.zoo", "losses", "losses.hidden", "schedules"),
    *("teacher", "models.setups", "models.combiners", "routers", "training.optimizers", "training.strategies"),
    *("study", "exports", "benchmarks"),
)
"""Every room, in the order of the data."""
BESIDE = ("benchmarks",)
"""Rooms that are packages beside this one."""
IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""What an import path looks like: ``package.module:Class``."""


def available(room: str) -> tuple[str, ...]:
    """Names of the plug-ins of a room ("losses", "corpus.sources", …), sorted."""
    files = (m.name for m in pkgutil.iter_modules(package(room).__path__) if not (m.ispkg or m.name.startswith("_")))
    return tuple(sorted([*files, *_presets(room)]))


@cache
def find(room: str, name: str) -> type:
    """The dataclass of a plug-in.

    Args:
        room: one of :data:`ROOMS`.
        name: of a plug-in of the room, or an import path (``package.module:Class``).

    Raises:
        PluginError: there is no such plug-in (with the nearest names), or it is none of the room (with what it lacks).
    """
    cls = _by_path(room, name) if ":" in name else _by_name(room, name)
    if lacking := _lacking(room, cls):
        what = f"{name!r} is no plug-in of {room}: it {lacking[0]}"
        raise PluginError(what, where=f"{cls.__module__}:{cls.__qualname__}", fix=lacking[1])
    return cls


def create(room: str, name: str, options: Mapping[str, Any]) -> Any:
    """Build a plug-in with validated options; `room` and `name` are those of :func:`find`.

    Raises:
        PluginError: unknown plug-in, unknown option, or an option of the wrong type or value.
    """
    cls = find(room, name)
    known = {option.name: option for option in options_of(cls)}
    for key in options:
        if key not in known:
            fix = near(key, known) or "; ".join(map(str, known.values())) or "it has no options"
            raise PluginError(f"{name!r} has no option {key!r}", where=f"{room}.{name}", fix=fix)
    try:
        return _adapter(cls).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        about = known.get(str(first["loc"][0])) if first["loc"] else None
        fix = str(about) if about else ""
        if first["type"] == "string_type" and isinstance(first["input"], int | float):
            fix = "put it in quotes"
        raise PluginError(f"option {option!r} of {name!r}: {first['msg']}", f"{room}.{name}", fix) from None


def see_current_folder() -> None:
    """Let modules in the current folder be imported, as `python -m` does and console scripts don't."""
    here = os.getcwd()  # noqa: PTH109  sys.path holds strings
    if here not in sys.path and "" not in sys.path and not sys.flags.safe_path:
        sys.path.append(here)


def package(room: str) -> Any:
    """The package that is a room."""
    return importlib.import_module(room if room in BESIDE else f"orchestrator.{room}")


def contract(room: str) -> type | None:
    """What a plug-in of a room is: its base class or protocol; None: the room asks for nothing."""
    found: type | None = getattr(package(room), "PLUGIN", None)
    return found


def told(base: type) -> str:
    """A base class or protocol by the path that it is imported from."""
    return f"{base.__module__.rpartition('._')[0] or base.__module__}.{base.__name__}"


def sources_of(cls: type) -> tuple[str, ...]:
    """Modules whose source defines plug-in class `cls`: its own, and those of its bases but for libraries."""
    ours = ("orchestrator", cls.__module__.partition(".")[0])
    return tuple(base.__module__ for base in cls.__mro__ if base.__module__.partition(".")[0] in ours)


def suggest(word: str, known: Iterable[str]) -> str:
    """«did you mean "x"?» for a near name, otherwise the names there are."""
    names = list(known)
    return near(word, names) or "known: " + ", ".join(names)


def near(word: str, known: Iterable[str]) -> str:
    """«did you mean "x"?» for a near name, otherwise ""."""
    names = list(known)
    found = difflib.get_close_matches(word, [*names, *(n.replace("_", "-") for n in names)], n=1, cutoff=0.6)
    return f'did you mean "{found[0]}"?' if found else ""


def _presets(room: str) -> Mapping[str, type]:
    presets: Mapping[str, type] = {}
    there = any(module.name == "_presets" for module in pkgutil.iter_modules(package(room).__path__))
    return importlib.import_module(f"{package(room).__name__}._presets").PRESETS if there else presets


def _by_name(room: str, name: str) -> type:
    plain = name.replace("-", "_")
    if plain not in available(room):
        fix = suggest(name, available(room)) + "; one of your own is named by its import path, package.module:Class"
        if re.fullmatch(IMPORT_PATH, colon := ":".join(name.rsplit(".", 1))):
            fix = f'one of your own is written with a colon before its class: "{colon}"'
        raise PluginError(f"there is no {room} plug-in {name!r}", where=room, fix=fix)
    if plain in (presets := _presets(room)):
        return presets[plain]
    module = importlib.import_module(f"{package(room).__name__}.{plain}")
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


def _by_path(room: str, path: str) -> type:
    if not re.fullmatch(IMPORT_PATH, path):
        ours = path.partition(":")[0]
        fix = "write it as package.module:Class"
        if ours.replace("-", "_") in available(room):
            fix = f"{ours} with options is written as {{type: {ours}, …}}"
        raise PluginError(f"{path!r} is no import path", where=room, fix=fix)
    module_name, _, name = path.partition(":")
    module = _imported(room, module_name)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and not key.startswith("_")]
        raise PluginError(f"{module_name} has no class {name!r}", where=room, fix=suggest(name, classes))
    return found


def _imported(room: str, name: str) -> Any:
    """A module of somebody else's: an installed one, or one in the current folder."""
    see_current_folder()
    importlib.invalidate_caches()  # the file may be younger than Python's list of its folder
    try:
        return importlib.import_module(name)
    except Exception as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent and f"{name}.".startswith(f"{absent}."):
            what = f"there is no module {absent!r}"
            if beside := _modules_beside(absent):
                raise PluginError(what, where=room, fix=suggest(absent, beside)) from None
            fix = f"install its package into this environment, or lay it in {os.getcwd()}, where the command runs"  # noqa: PTH109
            raise PluginError(what, where=room, fix=fix) from None
        fix = f"python -c 'import {name}' says more"
        raise PluginError(f"{name} can't be imported: {type(error).__name__}: {error}", where=room, fix=fix) from error


def _modules_beside(name: str) -> list[str]:
    """Modules of the package that a module would lie in; none where there is no such package."""
    package_name = name.rpartition(".")[0]
    inside = getattr(sys.modules.get(package_name), "__path__", ())
    return [f"{package_name}.{module.name}" for module in pkgutil.iter_modules(inside)]


def _lacking(room: str, cls: type) -> tuple[str, str] | None:
    """What makes a class no plug-in of a room, and what to write; None: it is one."""
    parameters = vars(cls).get("__dataclass_params__")  # its own, not those of a base
    if parameters is None or not parameters.frozen:
        return "is no frozen dataclass", f"write @dataclass(frozen=True) above class {cls.__name__}"
    base = contract(room)
    if base is None:
        return None
    fields = {field.name for field in dataclasses.fields(cls)}
    abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    lacking = [m for m in _members(base) if m in abstract or not (hasattr(cls, m) or m in fields)]
    if not lacking:
        return None
    asked: frozenset[str] = getattr(base, "__abstractmethods__", frozenset())
    if not getattr(base, "_is_protocol", False) and base not in cls.__mro__:  # the base brings what it does not ask for
        lacking = [member for member in lacking if member in asked]
    written = ", ".join(f"{member}{_signature(getattr(base, member, None))}" for member in lacking)
    if not written:
        return f"is not derived from {told(base)}", f"write class {cls.__name__}({base.__name__})"
    return f"lacks {written}", f"derive it from {told(base)} and write what is lacking"


def _members(base: type) -> Iterator[str]:
    """Public attributes and methods of a base class or protocol, its own bases' included."""
    known = [b for b in base.__mro__ if b.__module__.startswith(("orchestrator.", "benchmarks."))]
    names = dict.fromkeys(name for b in reversed(known) for name in (*vars(b), *inspect.get_annotations(b)))
    return (name for name in names if not name.startswith("_"))


def _signature(member: Any) -> str:
    if not callable(member):
        return ""
    return f"({', '.join(name for name in inspect.signature(member).parameters if name != 'self')})"


@cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)
