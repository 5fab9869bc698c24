"""Figures of the contenders of `mome bench overhead`: from marks to parts of a training, and rows of the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._overhead_meter import WHOLE, Mark
from benchmarks._rows import Row, compare, single

TO_STAGE, TO_STEP = "call to the stage's first line", "call to the end of the first optimizer step"
PARTS = {
    TO_STAGE: ("call", "stage"),
    TO_STEP: ("call", "first"),
    "last optimizer step to the end": ("last", "end"),
    "one training": ("call", "end"),
}
ONE_STEP, ADDED, PROCESSES, MEMORY = "one optimizer step", "what a training adds", "processes", "resident memory"
WALL, CPU = "wall time", "CPU time"
Figures = Mapping[tuple[str, str], float]
"""Of one training, by what was measured and the metric."""


@dataclass(frozen=True)
class Ended:
    """A contender's trainings: figures of each, those of the whole process by metric, and the losses of each."""

    trainings: Sequence[Figures]
    whole: Mapping[str, float]
    losses: Sequence[Sequence[float]]


@dataclass
class Found:
    """What the repeats of the contenders gave."""

    bare: dict[int, list[Ended]] = field(default_factory=lambda: {1: [], 2: []})
    ours: dict[int, list[Ended]] = field(default_factory=lambda: {1: [], 2: []})
    older: list[Ended] = field(default_factory=list)


def part_rows(found: Found, workers: int) -> Iterator[Row]:
    """Each part of a session's first training, and of later ones, beside bare trainings of as many workers."""
    name = "one worker" if workers == 1 else f"{workers} workers"
    for which, trainings in (("first of a session", slice(1)), ("later", slice(1, None))):
        for part in (*PARTS, ONE_STEP, ADDED):
            metrics = {WALL: "s", CPU: "s"} if part in PARTS or part == ONE_STEP else {PROCESSES: "", MEMORY: "MB"}
            for metric, unit in metrics.items():
                ours = series(found.ours[workers], trainings, part, metric)
                if ours:
                    bare = series(found.bare[workers], slice(None), part, metric)
                    yield compare(f"{name}, {which}: {part}, beside torchrun", metric, unit, ours, bare)


def loss_rows(found: Found, workers: int) -> Iterator[Row]:
    """How many optimizer steps have another loss than torchrun's, of how many; and the two furthest apart."""
    right = found.bare[workers][0].losses[0]
    pairs = [
        pair for ended in found.ours[workers] for losses in ended.losses for pair in zip(losses, right, strict=True)
    ]
    name = "one worker" if workers == 1 else f"{workers} workers"
    other = sum(ours != bare for ours, bare in pairs)
    yield single(f"{name}: losses other than torchrun's", "optimizer steps", "", other, len(pairs))
    furthest = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
    yield single(f"{name}: losses furthest apart, beside torchrun", "loss", "nat", *furthest)


def series(ended: Sequence[Ended], trainings: slice, part: str, metric: str) -> list[float]:
    """One figure of some trainings of each contender."""
    return [figures[part, metric] for each in ended for figures in each.trainings[trainings]]


def ended(marks: Sequence[Mark], metrics: Sequence[Path]) -> Ended:
    """What the marks of a contender say, and the files of metrics of its trainings."""
    of: dict[int, dict[str, Mark]] = {}
    for mark in marks:
        of.setdefault(mark.number, {})[mark.name] = mark
    begin, end = of[WHOLE]["begin"], of[WHOLE]["end"]
    nothing = Mark(WHOLE, "begin", begin.time, 0.0, 0, 0)  # a bare training's call: its process had not begun
    trainings = [_figures({"call": nothing, "end": end, **of[number]}) for number in range(len(metrics))]
    rows = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in metrics]
    losses = [[row["loss"] for row in each if "loss" in row] for each in rows]
    return Ended(trainings, {WALL: end.time - begin.time, CPU: end.cpu}, losses)


def _figures(of: Mapping[str, Mark]) -> Figures:
    found: dict[tuple[str, str], float] = {}
    for part, (start, stop) in PARTS.items():
        found[part, WALL] = of[stop].time - of[start].time
        found[part, CPU] = of[stop].cpu - of[start].cpu
    seconds = of["last"].values
    found[ONE_STEP, WALL] = statistics.median(seconds)
    found[ONE_STEP, CPU] = (of["last"].cpu - of["first"].cpu) / len(seconds)
    found[ADDED, PROCESSES] = of["last"].processes - of["call"].processes
    found[ADDED, MEMORY] = (of["last"].bytes - of["call"].bytes) / 1e6
    return found
