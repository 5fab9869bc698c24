"""YAML as recipes are written: a language called ``no``, a run ``12:30`` and a folder ``2024-01-01`` are text.

YAML 1.1, which PyYAML reads, takes them for a truth value, a number to the base of sixty and a date. Here, as in YAML
1.2, truth values are ``true`` and ``false`` alone, numbers are decimal, and keys are always text. Where a field asks
for a truth value, ``yes``, ``no``, ``on`` and ``off`` still are some.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    # A leading zero makes text of it: 007 is a name, and fields that ask for a number take "010" as 10.
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", "<<", "<"),
)


class RecipeLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the rules above."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (the base class declares it so)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are text as it is written."""
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    key.tag = f"{_TAG}str"
        return super().construct_mapping(node, deep)


for _name, _pattern, _first in _SCALARS:
    RecipeLoader.add_implicit_resolver(
        _TAG + _name, re.compile(f"^(?:{_pattern})$"), [*_first, *[""] * (_name == "null")]
    )


def compose(text: str) -> yaml.Node | None:
    """The tree of nodes of a text, None of an empty one.

    Raises:
        yaml.YAMLError: it is not YAML. RecursionError: it is nested too deep.
    """
    return yaml.compose(text, Loader=RecipeLoader)


def construct(node: yaml.Node) -> Any:
    """The value of a node, which is used up.

    Raises:
        yaml.YAMLError, ValueError: it stands for no value.
    """
    loader = RecipeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def parse(text: str) -> Any:
    """The value of a text.

    Raises:
        yaml.YAMLError, ValueError: it is not YAML, or stands for no value. RecursionError: it is nested too deep.
    """
    node = compose(text)
    return None if node is None else construct(node)
