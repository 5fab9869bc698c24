"""`mome precision`: what fp32, bf16 and int8 cost in perplexity, and how fast they are here."""

from __future__ import annotations

import json as text
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.arguments import DEFAULT_RUNS, Experts, RunName, Runs, named

Precision = Annotated[
    str, typer.Option(help="fp32, bf16 or int8: of the experts' products. mome precision measures them.")
]


def precision(
    name: RunName,
    experts: Experts = None,
    blocks: Annotated[int, typer.Option(min=1, help="Held-out blocks of each language, at most.")] = 64,
    json: Annotated[Path | None, typer.Option(help="Write the figures here too.")] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Measure the experts in fp32, bf16 and int8: held-out perplexity, and tokens a second on this machine.

    Examples:

        mome precision quickstart

        mome precision quickstart --experts en --blocks 200 --json precision.json
    """
    from rich.table import Table

    from orchestrator.api import load_run
    from orchestrator.artifacts import write_json
    from orchestrator.cli.consoles import table_console
    from serve.precision import MOST, fastest, measure_precisions

    found = list(measure_precisions(load_run(name, runs).folder, named(experts), blocks))
    table = Table(title=f"experts of {name}: {blocks} held-out blocks at most", title_justify="left")
    for heading in ("expert", "precision", "perplexity", "loss", "tokens/s, 1 row", "tokens/s, 8 rows"):
        table.add_column(heading, justify="left" if heading in ("expert", "precision") else "right")
    for row in found:
        figures = (f"{row.perplexity:,.3f}", f"{row.loss:+.2%}", *(f"{speed:,.0f}" for speed in row.speeds.values()))
        table.add_row(row.expert, row.precision, *figures)
    table_console().print(table)
    print(
        f"fastest here, of those that lose at most {MOST:.0%}: {fastest(found)} (--precision of mome serve, generate)"
    )
    if json:
        write_json(json, text.loads(text.dumps({"rows": [asdict(row) for row in found], "fastest": fastest(found)})))


COMMANDS: dict[str, Callable[..., None]] = {"precision": precision}
"""By their names."""
