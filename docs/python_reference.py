"""The page of the Python interface: signatures and docstrings, read by griffe without importing anything.

A docstring that names a parameter that the function does not have stops the build.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]
INTERFACE: dict[str, tuple[str, ...]] = {
    "Running": ("api.run", "api.plan", "api.load_run", "api.Run", "api.RunPlan", "api.StepPlan"),
    "Results": tuple(f"reporting.record.{name}" for name in ("Results", "Perplexity", "RouterResults", "RouterScores")),
    "Routing": ("routers.Choice", "routers.Router", "routers.spans"),
    "Losses and schedules": ("losses.SoftLoss", "schedules.Schedule", "schedules.LossHistory", "schedules.StepLosses"),
    "Teachers": ("teacher.TeacherSource", "teacher.CachedTeacherSource"),
    "Sources": ("corpus.document.Document", "corpus.document.Source"),
    "Models": ("models.zoo.Architecture",),
    "Stages": ("stages.base.Stage",),
    "Errors": ("errors.MomeError",),
}
"""Headings of the page, and what stands under each, by its path in the package `orchestrator`."""
IMPORTED_FROM = {"api": "orchestrator"}


class _Complaints(logging.Handler):
    """What griffe says of docstrings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.append(record.getMessage())


def page() -> str:
    """The whole page.

    Raises:
        SystemExit: a docstring does not fit its function, or a name of the interface is missing.
    """
    complaints = _Complaints()
    griffe.logger.setLevel(logging.WARNING)
    logging.getLogger("griffe").addHandler(complaints)
    package = griffe.load("orchestrator", search_paths=[ROOT], docstring_parser="google")
    parts = ["# Python interface", "Everything else in the package is free to change."]
    for title, names in INTERFACE.items():
        parts.append(f"## {title}")
        for name in names:
            parts += _object(_found(package, name), name)
    if complaints.said:
        raise SystemExit("\n".join(complaints.said))
    return "\n\n".join(parts) + "\n"


def _found(package: griffe.Module, name: str) -> griffe.Object:
    try:
        found = package[name]
    except KeyError:
        raise SystemExit(f"docs/python_reference.py: there is no orchestrator.{name}") from None
    return found.final_target if isinstance(found, griffe.Alias) else found


def _object(found: griffe.Object, path: str) -> Iterator[str]:
    """A function, or a class with its public methods and properties."""
    module, _, name = path.rpartition(".")
    anchor = f"class-{name.lower()}" if isinstance(found, griffe.Class) else name.lower()
    yield f"### `{name}` {{ #{anchor} }}"
    yield f"```python\nfrom {IMPORTED_FROM.get(module, f'orchestrator.{module}')} import {name}\n```"
    if isinstance(found, griffe.Function):
        yield _signature(found)
    yield from _sections(found)
    if isinstance(found, griffe.Class):
        for member in found.members.values():
            if not member.name.startswith("_") and isinstance(member, griffe.Function) and member.docstring:
                yield f"#### `{name}.{member.name}` {{ #{anchor}-{member.name.lower()} }}"
                yield _signature(member)
                yield from _sections(member)
            elif not member.name.startswith("_") and isinstance(member, griffe.Attribute) and member.docstring:
                annotation = f": {member.annotation}" if member.annotation else ""
                yield f"`{member.name}{annotation}`\n\n" + _text(member.docstring.value)


def _signature(function: griffe.Function) -> str:
    text = function.signature(name=function.name)
    if len(text) > 100:
        text = re.sub(r"\(", "(\n    ", text, count=1)
        head, _, tail = text.rpartition(") ->")
        body = re.sub(r", (?=\*?\*?\w+(:|=|,|$))", ",\n    ", head)
        text = f"{body},\n) ->{tail}" if tail else text
    return f"```python\n{text}\n```"


def _sections(found: griffe.Object) -> Iterator[str]:
    """The parts of a docstring, each as Markdown."""
    if found.docstring is None:
        return
    found.docstring.value = _one_a_line(found.docstring.value, _names(found))
    for section in found.docstring.parse("google", warn_unknown_params=True):
        match section.kind:
            case griffe.DocstringSectionKind.text:
                yield _text(section.value)
            case griffe.DocstringSectionKind.parameters | griffe.DocstringSectionKind.attributes:
                yield _listed(section.kind.value.capitalize(), [(f"`{i.name}`", i.description) for i in section.value])
            case griffe.DocstringSectionKind.raises | griffe.DocstringSectionKind.returns:
                yield _listed(
                    section.kind.value.capitalize(), [(f"`{i.annotation}`", i.description) for i in section.value]
                )
            case griffe.DocstringSectionKind.examples:
                yield "\n\n".join(
                    str(value) if kind == griffe.DocstringSectionKind.text else f"```python\n{value}\n```"
                    for kind, value in section.value
                )
            case griffe.DocstringSectionKind.admonition:
                about = section.value.description
                yield f"**{section.title}**\n\n" + (f"```python\n{about}\n```" if ">>>" in about else _text(about))
            case _:
                raise SystemExit(
                    f"{found.path}: a docstring section that this page does not know: {section.kind.value}"
                )


def _names(found: griffe.Object) -> set[str]:
    """Names that a docstring may tell of: parameters of a function, attributes of a class."""
    return (
        {parameter.name for parameter in found.parameters} if isinstance(found, griffe.Function) else set(found.members)
    )


def _one_a_line(text: str, names: set[str]) -> str:
    """Several names in a line, as `a, b: what` and as `a: what. b: what`, become a line each."""
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        parts = re.split(r"(?<=\.) (?=(?:\w+, )*\w+: )", line.strip()) if indent else [line]
        starts = [re.match(r"((?:\*{0,2}\w+, )*\*{0,2}\w+): (.*)", part) for part in parts]
        if indent and all(start and set(re.findall(r"\w+", start[1])) <= names for start in starts):
            lines += [f"{indent}{name}: {start[2]}" for start in starts if start for name in start[1].split(", ")]
        else:
            lines.append(line)
    return "\n".join(lines)


def _listed(title: str, items: list[tuple[str, str]]) -> str:
    return f"**{title}**\n\n" + "\n".join(f"- {name}: {_text(about)}" for name, about in items)


def _text(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split(" "))).replace("<", "&lt;").strip()
