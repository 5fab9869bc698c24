"""`mome plugins`: the rooms, the plug-ins of a room, and the options of a plug-in."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any, get_args

import typer


def tell(
    room: Annotated[str | None, typer.Argument(help="A room, for example losses.", show_default=False)] = None,
    name: Annotated[
        str | None, typer.Argument(help="A plug-in of it, by name or as package.module:Class.", show_default=False)
    ] = None,
) -> None:
    """Say what can be named in a recipe: rooms, plug-ins, and their options.

    Examples:

        mome plugins

        mome plugins losses

        mome plugins losses jsd

        mome plugins losses mypackage.losses:Mine
    """
    if room is None:
        _rooms()
    elif name is None:
        _room(room)
    else:
        _plugin(room, name)


def _rooms() -> None:
    from orchestrator import plugins
    from orchestrator.plugin_options import summary

    places = _places()
    for room in _known():
        print(f"{room:<20} {summary(plugins.package(room))}")
        print(f"{'':<20} {places.get(room, 'not part of a recipe')}")
    print("\nmome plugins ROOM lists the plug-ins of a room.")


def _room(room: str) -> None:
    from orchestrator import plugins
    from orchestrator.plugin_options import summary

    _check(room)
    print(summary(plugins.package(room)))
    if key := _places().get(room):
        print(f"In a recipe: {key}")
    names = plugins.available(room)
    width = max(map(len, names))
    print()
    for name in names:
        cls = plugins.find(room, name)
        module = sys.modules[cls.__module__]
        print(f"{name:<{width}}  {summary(module if module.__name__.endswith(f'.{name}') else cls)}")
    if base := plugins.contract(room):
        print(
            f"\nOne of your own is named as package.module:Class, a frozen dataclass that obeys {plugins.told(base)}."
        )
    print(f"mome plugins {room} NAME lists the options of a plug-in.")


def _plugin(room: str, name: str) -> None:
    import inspect

    from orchestrator import plugins
    from orchestrator.plugin_options import options_of, summary

    _check(room)
    cls = plugins.find(room, name)
    print(f"{name}, of {room} ({cls.__module__}:{cls.__qualname__})\n")
    print(inspect.getdoc(cls) if summary(cls) else "No documentation.")
    options = options_of(cls)
    print("\nOptions:" if options else "\nNo options.")
    for option in options:
        print(f"  {option.name}: {option.kind} ({option.told_default})")
        if option.doc:
            print(f"      {option.doc}")


def _check(room: str) -> None:
    from orchestrator import plugins
    from orchestrator.errors import PluginError

    if room not in _known():
        raise PluginError(f"there is no room {room!r}", fix=plugins.suggest(room, _known()))


def _known() -> tuple[str, ...]:
    """Rooms whose package is there: benchmarks lie in a clone only."""
    import importlib.util

    from orchestrator import plugins

    there = [room for room in plugins.BESIDE if importlib.util.find_spec(room)]
    return tuple(room for room in plugins.ROOMS if room not in plugins.BESIDE or room in there)


def _places() -> dict[str, str]:
    """Room -> the key of a recipe, or of another plug-in's options, that names a plug-in of it."""
    from orchestrator.config.recipe import Recipe

    places = dict(reversed(list(_in_section(Recipe, ""))))  # the first place of a room counts
    inner = {
        "models.combiners": ("models.setups", "combiner", "moe_ce"),
        "corpus.formats": ("corpus.sources", "format", "files"),
    }
    return places | {room: f"{places[outer]}.{key} (of {name})" for room, (outer, key, name) in inner.items()}


def _in_section(section: Any, path: str) -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        yield from _in_type(field.annotation, f"{path}{name}", field.metadata)


def _in_type(annotation: Any, path: str, metadata: list[Any]) -> Iterator[tuple[str, str]]:
    from orchestrator.config.base import InRoom, Section

    yield from ((about.room, path) for about in metadata if isinstance(about, InRoom))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield from _in_section(annotation, f"{path}.")
    for part in get_args(annotation):
        inner = f"{path}.NAME" if getattr(annotation, "__origin__", None) is dict else path
        if not isinstance(part, InRoom):
            yield from _in_type(part, inner, list(getattr(part, "__metadata__", ())))


def print_schema() -> None:
    """Print the JSON schema of recipes, for editors.

    Example:

        mome schema > recipe.schema.json
    """
    from orchestrator.config.recipe import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=1))
