"""`mome bench`: run one bench, print its table, write its JSON."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator import plugins
from orchestrator.artifacts import write_json
from orchestrator.cli.extras import needs_cluster
from orchestrator.provenance import versions


def run_bench(name: str, json_file: Path | None) -> None:
    """Measure and print.

    Raises:
        PluginError: no bench of that name. ResourceError: a package that it compares with is not installed.
    """
    with needs_cluster():
        rows = list(plugins.create("bench", name, {}).rows())
    table = Table(title=f"bench {name}: medians in one run", title_justify="left")
    for heading in ("case", "metric", "unit", "ours", "baseline", "ratio", "spread"):
        table.add_column(heading, justify="left" if heading in ("case", "metric", "unit") else "right")
    for row in rows:
        figures = (f"{row.ours:,.4g}", f"{row.baseline:,.4g}", f"{row.ratio:.3f}", f"±{row.spread / 2:.0%}")
        table.add_row(row.case, row.metric, row.unit, *figures)
    Console().print(table)
    if json_file:
        keys = ("case", "metric", "unit", "ours", "baseline", "ratio", "spread")
        machine = {"platform": platform.platform(), "cpus": os.cpu_count()}
        found = [{key: getattr(row, key) for key in keys} for row in rows]
        write_json(json_file, {"bench": name, "rows": found, "versions": versions(), "machine": machine})
