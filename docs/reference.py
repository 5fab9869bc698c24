"""The pages of the reference, from the code: fields of recipes and sweeps, plug-ins, commands, the Python interface."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import python_reference
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orchestrator import plugins
from orchestrator.config.recipe import Recipe
from orchestrator.config.sweep import Sweep
from orchestrator.plugin_options import Option, options_of

INTRODUCTIONS = {
    "recipe": "A recipe is a YAML file with these sections. `mome run FILE section.field=value` changes a field. "
    "Unknown keys are refused. A field without a default must be given.",
    "sweep": "A sweep is a YAML file with these fields. `mome sweep FILE field=value` changes one.",
    "plugins": "A recipe names a plug-in by its name, or by its name and options: `reverse_kl`, or `{type: reverse_kl, "
    "temperature: 2.0}`. One of your own is named by its import path ([Plug-ins](../plugins.md)).",
}
COMMAND = "typer", "orchestrator.cli.main", "utils", "docs", "--name", "mome", "--title", "Commands"


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "recipe.md": _page("Recipe fields", "recipe", sections(Recipe, "The recipe")),
        "sweep.md": _page("Sweep fields", "sweep", sections(Sweep, "The sweep")),
        "plugins.md": _page("Plug-ins", "plugins", rooms()),
        "commands.md": commands(),
        "python.md": python_reference.page(),
    }


def _page(title: str, key: str, parts: Iterator[str]) -> str:
    return "\n\n".join([f"# {title}", INTRODUCTIONS[key], *parts]) + "\n"


# --- fields of pydantic models


def sections(model: type[BaseModel], title: str, path: str = "", heading: str = "##") -> Iterator[str]:
    """A model's fields as a table, then the models of its fields, depth first."""
    yield f"{heading} {f'`{path}`' if path else title}\n\n{plain(inspect.getdoc(model) or '')}"
    rows, below = [], []
    for name, field in model.model_fields.items():
        inner = next(_models(field.annotation), None)
        place = ".".join(filter(None, (path, name + (".NAME" if _is_mapping(field.annotation) else ""))))
        if inner is not None:
            below.append((inner, place))
        kind = f"[section](#{anchor(place)})" if inner is not None else _kind(model, name)
        rows.append([f"`{name}`", kind, _default(field), plain(field.description or "")])
    yield table(["field", "value", "default", "what"], rows)
    for inner, place in below:
        yield from sections(inner, title, place, heading)


def _kind(model: type[BaseModel], name: str) -> str:
    """The values of a field in words, a plug-in as a link."""
    if room := next(_rooms(model.model_fields[name].annotation, model.model_fields[name].metadata), ""):
        many = "a mapping of names to plug-ins" if _is_mapping(model.model_fields[name].annotation) else "a plug-in"
        return f"{many} of [`{room}`](plugins.md#{anchor(room)})"
    schema = model.model_json_schema()
    found = schema["properties"][name]
    text = json.dumps(found)
    for reference in re.findall(r'"#/\$defs/(\w+)"', text):
        text = text.replace(f'{{"$ref": "#/$defs/{reference}"}}', '{"type": "object"}')
    shown = {key: value for key, value in json.loads(text).items() if key != "title"}
    return escape(Option(name, shown, required=False, default=None, doc="").kind)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that are sections of their own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation.__name__ != "PluginSpec":
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _rooms(annotation: Any, metadata: Any = ()) -> Iterator[str]:
    """Rooms whose plug-ins a field holds."""
    for about in (*metadata, *getattr(annotation, "__metadata__", ())):
        if isinstance(room := getattr(about, "room", None), str):
            yield room
    for argument in get_args(annotation):
        yield from _rooms(argument)


def _is_mapping(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict or any(_is_mapping(a) for a in get_args(annotation))


def _default(field: Any) -> str:
    value = field.default
    if field.default_factory is not None or (isinstance(value, BaseModel) and not hasattr(value, "type")):
        return ""
    return "needed" if value is PydanticUndefined else written(value)


def written(value: Any) -> str:
    """A default as a recipe has it; a plug-in without options by its name."""

    def plainer(value: Any) -> Any:
        return value.type if not value.options else value.model_dump(mode="json")

    value = plainer(value) if isinstance(value, BaseModel) else value
    return f"`{value if isinstance(value, str) and value else json.dumps(value, default=plainer)}`"


# --- plug-ins


def rooms() -> Iterator[str]:
    """Every room with its plug-ins and their options."""
    for room in (name for name in plugins.ROOMS if name not in plugins.BESIDE):
        package = sys.modules.get(f"orchestrator.{room}") or __import__(f"orchestrator.{room}", fromlist=["_"])
        yield f"## `{room}`\n\n{plain(inspect.getdoc(package) or '')}"
        for name in plugins.available(room):
            cls = plugins.find(room, name)
            shown = name.replace("_", "-") if room == "models.zoo" else name
            about = (inspect.getdoc(cls) or "").partition("Attributes:\n")[0]
            yield f"### `{shown}` {{ #{anchor(f'{room} {shown}')} }}\n\n{plain(about)}"
            rows = [
                [f"`{o.name}`", escape(o.kind), "needed" if o.required else written(o.default), plain(o.doc)]
                for o in options_of(cls)
            ]
            if rows:
                yield table(["option", "value", "default", "what"], rows)
            for option, hint in get_type_hints(cls).items():
                for model in _models(hint):
                    yield from sections(model, "", f"{shown}.{option}.NAME", "####")


# --- commands


def commands() -> str:
    """What `mome --help` and the help of every command say."""
    run = subprocess.run([sys.executable, "-m", *COMMAND], capture_output=True, text=True, check=True)
    return run.stdout


# --- Markdown


def table(heading: list[str], rows: list[list[str]]) -> str:
    """A Markdown table of text."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace(chr(10), ' ') for cell in row)} |" for row in lines)


def plain(text: str) -> str:
    """A docstring as Markdown: double backticks and roles become single backticks."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return escape(re.sub(r"``([^`]+)``", r"`\1`", text).strip())


def escape(text: str) -> str:
    """Text that is neither HTML nor the end of a cell, outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part.replace("|", "\\|") if i % 2 else _outside(part) for i, part in enumerate(parts))


def _outside(text: str) -> str:
    return re.sub(r"([<|*_])", r"\\\1", text)


def anchor(text: str) -> str:
    """What a heading is linked by."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())
