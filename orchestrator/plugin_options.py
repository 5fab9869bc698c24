"""The options of a plug-in as people are told of them: name, kind, default and documentation.

The documentation of an option is the docstring under its field, or its line under "Attributes:" in the docstring of the
class, as documentation tools read both.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
of_an_option: ContextVar[bool] = ContextVar("of_an_option", default=False)
"""Whether the JSON schema of a plug-in's option is being made."""


@dataclass(frozen=True)
class Option:
    """A field of a plug-in.

    Attributes:
        name: in a recipe.
        schema: JSON schema of its values.
        required: whether there is no default.
        default: JSON-able.
        doc: what it means; "" where nothing says so.
    """

    name: str
    schema: Mapping[str, Any]
    required: bool
    default: Any
    doc: str

    @property
    def kind(self) -> str:
        """Its values in words: "a number above 0"."""
        return _words(self.schema)

    @property
    def described(self) -> dict[str, Any]:
        """Its schema with documentation and default."""
        default = {} if self.required else {"default": self.default}
        return {**self.schema, **({"description": self.doc} if self.doc else {}), **default}

    @property
    def told_default(self) -> str:
        """Its default in words."""
        return "needed" if self.required else f"default {_written(self.default)}"

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} ({self.told_default})" + (f". {self.doc}" if self.doc else "")


@cache
def options_of(cls: type) -> tuple[Option, ...]:
    """The options of a plug-in class, in the order of its fields."""
    hints, docs = get_type_hints(cls, include_extras=True), _docs(cls)
    return tuple(
        Option(field.name, _schema(hints[field.name]), *_default(field), docs.get(field.name, ""))
        for field in dataclasses.fields(cls)
        if field.init
    )


def summary(about: Any) -> str:
    """The first sentence of the docstring of a module or class, in one line; "": it has none of its own."""
    text = " ".join((inspect.getdoc(about) or "").partition("\n\n")[0].split())
    if isinstance(about, type) and text.startswith(f"{about.__name__}("):  # which dataclass writes
        return ""
    return re.split(r"(?<=[^.][.])\s(?=[A-Z`])", text, maxsplit=1)[0]


def _schema(hint: Any) -> dict[str, Any]:
    token = of_an_option.set(True)
    try:
        schema = TypeAdapter(hint).json_schema()
    finally:
        of_an_option.reset(token)
    return {} if "$defs" in schema else schema  # refers to itself as a whole, which a recipe's schema is not


def _default(field: dataclasses.Field[Any]) -> tuple[bool, Any]:
    if field.default_factory is not dataclasses.MISSING:
        return False, to_jsonable_python(field.default_factory())
    return field.default is dataclasses.MISSING, None if field.default is dataclasses.MISSING else to_jsonable_python(
        field.default
    )


def _docs(cls: type) -> dict[str, str]:
    """Option -> documentation; what a class says goes before what it inherits."""
    found: dict[str, str] = {}
    for base in cls.__mro__:
        if dataclasses.is_dataclass(base):
            found = {**dict([*_listed(base), *_under_fields(base)]), **found}
    return found


def _listed(cls: type) -> Iterator[tuple[str, str]]:
    """Lines under "Attributes:"; a further indented line goes on with the one above."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    lines = re.split(r"\n(?! {5})", textwrap.indent(textwrap.dedent(section.partition("\n\n")[0]), "    "))
    for line in lines:
        name, colon, doc = line.strip().partition(": ")
        if colon:
            yield name, " ".join(doc.split())


def _under_fields(cls: type) -> Iterator[tuple[str, str]]:
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # made by a function, or in a notebook
        return
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for field, below in itertools.pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                yield name, " ".join(doc.split())


def _words(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    if "title" in schema:  # a plug-in
        return str(schema["title"])
    if "enum" in schema or "const" in schema:
        return " or ".join(map(_written, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema:
        return " or ".join(map(_words, schema["anyOf"]))
    if "prefixItems" in schema:
        return "a list of " + ", ".join(map(_words, schema["prefixItems"]))
    if schema.get("type") == "array":
        return "a list of " + _words(schema.get("items", {}))
    kinds = {"number": "a number", "integer": "a whole number", "string": "text", "boolean": "true or false"}
    kinds |= {"null": "null", "object": "a mapping"}
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return " ".join([kinds.get(str(schema.get("type")), "anything"), " and ".join(bounds)]).strip()


def _written(value: Any) -> str:
    """A value as a recipe has it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return value["type"] if list(value) == ["type"] else str(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value) if value == "" else str(value)
