"""What steps and reports say, as a tracker takes it: numbers by step, leaves of configurations, names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"
_LONGEST_VALUE = 500
_LONGEST_NAME = 250
_FORBIDDEN = re.compile(r"[^\w\-. :/]")
_RESULTS = ("table3_router", "table4_perplexity", "teacher_perplexity", "expert_perplexity")


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """The whole rows of metrics in a folder; none where it has no such file."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def numbers(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float, int]]:
    """(name, value, step) of every finite number in the rows that belong to a step."""
    for row in rows:
        for key, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if number and "step" in row and key not in ("step", "steps"):
                yield key, float(value), int(row["step"])


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf of nested mappings."""
    if isinstance(tree, Mapping) and (tree or not prefix):
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def clean(name: str) -> str:
    """A name of a parameter or metric as MLflow takes it: names of configurations may hold anything."""
    return _FORBIDDEN.sub("_", name)[:_LONGEST_NAME]


def text(value: Any) -> str:
    """A parameter's value as MLflow shows it."""
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:_LONGEST_VALUE]


def results_of(report: Path) -> dict[str, Any]:
    """The report's main numbers by dotted name."""
    try:
        results = json.loads((report / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(leaves({key: results[key] for key in _RESULTS if key in results}))


def batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most so many items."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
