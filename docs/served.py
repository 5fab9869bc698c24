"""Tables of what serving's benches found: heading and rows. `docs/figures.py` writes them into pages.

Each takes every result of its folder, so that whoever measures a part again writes that part's file alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Mapping[tuple[str, str, str], Mapping[str, Any]]
Table = tuple[list[str], list[list[str]]]
PLACES = [(threads, batch) for threads in (1, 2) for batch in (1, 8)]
LATENCIES = ("time to the first token", "time a token after it")
GOALS = {
    "the endpoint's share of the time to the first token, one client": (
        "what is not the engine's of the time to the first token, one client, beside the goal", "latency", "≤ 5 ms"),
    "… of the time a token after it": (
        "what is not the engine's of the time a token after it, one client, beside the goal", "latency", "≤ 0.1 ms"),
    "one token beside an answer of 200 tokens, and alone": (
        "one token beside an answer of 200, and alone", "latency", "≤ 1.3 ×"),
    "answers at 5 × what can be answered, beside what can": ("5 × what can be answered", "speed", "≥ 0.9 ×"),
    "… memory after it, and before": ("5 × what can be answered", "memory", "flat"),
    "… until a 429, p50": ("5 × what can be answered: until a refusal, p50", "latency", "≤ 100 ms"),
    "… p99": ("5 × what can be answered: until a refusal, p99", "latency", "≤ 100 ms"),
    "an expert that had ended: its first token": (
        "0 to 1 replicas, the first token, beside the goal", "latency", "≤ 5 s"),
    "memory of the idle endpoint, beside the build of 2026-11-22": (
        "idle endpoint beside another build's", "memory", "≤ 0.6 ×"),
}  # fmt: skip
"""What a table says -> the row's case after its shape, its metric, and the goal."""


def rows_of(results: Iterable[Mapping[str, Any]]) -> Rows:
    """By case, metric and unit; where two results have a row, that of the later one is taken."""
    return {(row["case"], row["metric"], row["unit"]): row for found in results for row in found["rows"]}


def engine(rows: Rows, shape: str) -> Table:
    """Tokens a second beside each peer, by threads and batch."""
    beside = dict.fromkeys(
        case.rpartition(": ")[2] for case, metric, _ in rows if case.startswith(f"{shape}, ") and metric == "speed"
    )
    lines = []
    for name in beside:
        cells = []
        for threads, batch in PLACES:
            case = f"{shape}, {threads} thread{'s' * (threads > 1)}, batch {batch}: {name}"
            row = rows.get((case, "speed", "tokens/s"))
            cells.append(f"{row['ours']:,.0f} / {row['baseline']:,.0f} ({row['ratio']:.2f})" if row else "")
        lines.append([name, *cells])
    heading = [f"{threads} thread{'s' * (threads > 1)}, {batch} at once" for threads, batch in PLACES]
    return [f"experts of {shape}: tokens/s (ratio)", *heading], lines


def clients(rows: Rows, shape: str) -> Table:
    """An endpoint over HTTP beside the engines alone, by how many ask at once."""
    pattern = re.compile(rf"{shape}, (\d+) clients")
    counts = {int(found[1]) for case, _, unit in rows if unit == "tokens/s" and (found := pattern.fullmatch(case))}
    lines = []
    for count in sorted(counts):
        case = f"{shape}, {count} clients"
        beside = rows[f"{case}: beside the engines alone", "speed", "tokens/CPU s"]
        cost = 1000 / beside["ours"] - 1000 / beside["baseline"]
        times = [
            [rows[f"{case}: {name}, {share}", "latency", "ms"]["ours"] for share in ("p50", "p95", "p99")]
            for name in LATENCIES
        ]
        lines.append([
            str(count), f"{rows[case, 'speed', 'tokens/s']['ours']:,.0f}", f"{beside['ratio']:.2f}", f"{cost:.2f}",
            *(" / ".join(f"{value:.1f}" for value in values) for values in times),
        ])  # fmt: skip
    heading = ["clients", "tokens/s", "of the engines' tokens a CPU second", "CPU ms a token beside theirs"]
    return [*heading, "first token, ms, p50 / p95 / p99", "a token after it, ms, p50 / p95 / p99"], lines


def goals(rows: Rows, shapes: Sequence[str]) -> Table:
    """What an endpoint must hold, by the shape of its experts."""
    lines = []
    for shape in shapes:
        lines += [
            _line(f"{shape}: {what}", rows[f"{shape}: {case}", metric, unit], goal)
            for what, (case, metric, goal) in GOALS.items()
            for unit in _UNITS[metric]
            if (f"{shape}: {case}", metric, unit) in rows
        ]
        for (case, _, _), row in rows.items():
            if found := re.fullmatch(rf"{shape}, (\d+) clients: beside another build", case):
                what = f"{shape}: {found[1]} clients, beside the build of 2026-11-22"
                lines.append(_line(what, row, "≥ 5 ×" if shape == "quickstart" else ""))
    return ["what", "this", "beside it", "ratio", "goal"], lines


_UNITS = {"latency": ("ms", "s"), "speed": ("tokens/s",), "memory": ("MB",)}


def _line(what: str, row: Mapping[str, Any], goal: str) -> list[str]:
    known = row["baseline"] == row["baseline"]  # not a number: nothing is beside it
    sides = [f"{row[side]:,.4g} {row['unit']}" if side == "ours" or known else "" for side in ("ours", "baseline")]
    return [what, *sides, f"{row['ratio']:.2f}" if known else "", goal]
