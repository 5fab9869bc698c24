"""`mome bench`: run one bench, print its table, write its JSON."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

import orchestrator
from orchestrator import plugins
from orchestrator.api.extras import needs_cluster
from orchestrator.artifacts import write_json
from orchestrator.cli.consoles import table_console
from orchestrator.config.loading import apply_override
from orchestrator.errors import ResourceError
from orchestrator.provenance import versions


def run_bench(name: str, options: Sequence[str], json_file: Path | None) -> None:
    """Measure with ``option=value`` for some of the bench's sizes, and print: each row as it comes, and all in the end.

    The file has what was measured so far, also where the bench fails or is interrupted.

    Raises:
        PluginError: no bench of that name, or no such option. RecipeError: one that is no ``option=value``.
        ResourceError: this is no clone, or a package that it compares with is not installed.
    """
    _find_benchmarks()
    chosen: dict[str, Any] = {}
    for option in options:
        chosen = apply_override(chosen, option)
    rows = list[Any]()
    try:
        with needs_cluster():
            for row in plugins.create("benchmarks", name, chosen).rows():
                rows.append(row)
                print(f"{row.case}: {row.metric}: {' '.join(_figures(row))}", file=sys.stderr, flush=True)
                if json_file:
                    _write(name, rows, json_file)
    finally:
        if rows:
            _print(name, rows)


def _figures(row: Any) -> tuple[str, str, str, str]:
    return f"{row.ours:,.4g}", f"{row.baseline:,.4g}", f"{row.ratio:.3f}", f"±{row.spread / 2:.0%}"


def _print(name: str, rows: Sequence[Any]) -> None:
    table = Table(title=f"bench {name}: medians in one run", title_justify="left")
    for heading in ("case", "metric", "unit", "ours", "baseline", "ratio", "spread"):
        table.add_column(heading, justify="left" if heading in ("case", "metric", "unit") else "right")
    for row in rows:
        table.add_row(row.case, row.metric, row.unit, *_figures(row))
    table_console().print(table)


def _write(name: str, rows: Sequence[Any], json_file: Path) -> None:
    keys = ("case", "metric", "unit", "ours", "baseline", "ratio", "spread")
    machine = {"platform": platform.platform(), "cpus": os.cpu_count()}
    found = [{key: getattr(row, key) for key in keys} for row in rows]
    write_json(json_file, {"bench": name, "rows": found, "versions": versions(), "machine": machine})


def _find_benchmarks() -> None:
    """They lie beside the package, in a clone of the repository.

    Raises:
        ResourceError: they are not there.
    """
    root = Path(orchestrator.__file__).parents[1]
    if not (root / "benchmarks" / "__init__.py").is_file():
        fix = "clone the repository and install it from there: pip install -e '.[cluster]'"
        raise ResourceError("benchmarks are not part of an installed package", "mome bench", fix)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
