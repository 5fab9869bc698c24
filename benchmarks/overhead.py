"""What our stack costs beside torchrun: the same short trainings of an expert, below it and through Ray, in one run."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import _overhead_job
from benchmarks._distill_inputs import write_inputs
from benchmarks._distill_job import LANGUAGE, gpt2
from benchmarks._overhead_job import Job
from benchmarks._overhead_meter import WHOLE, Mark, measure
from benchmarks._overhead_metrics import row_seconds
from benchmarks._rows import Row, compare, single
from orchestrator.errors import ResourceError

FIRST_SECONDS, LATER_SECONDS, STEP, METRICS = 6.0, 2.0, 1.02, 0.01
"""Goals: seconds from the call to the first optimizer step, the ratio of a step's times, the share of a row's time."""
PARTS = {
    "call to the stage's first line": ("call", "stage"),
    "call to the end of the first optimizer step": ("call", "first"),
    "last optimizer step to the end": ("last", "end"),
    "one training": ("call", "end"),
}
STEP_PART, PROCESSES, MEMORY = "one optimizer step", "processes", "resident memory"
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
class _Found:
    """What the repeats of the contenders gave."""

    bare: dict[int, list[Ended]] = field(default_factory=lambda: {1: [], 2: []})
    ours: dict[int, list[Ended]] = field(default_factory=lambda: {1: [], 2: []})
    older: list[Ended] = field(default_factory=list)


@dataclass(frozen=True)
class Overhead:
    """A session of our stack with several trainings, and bare trainings below torchrun, one and two processes each."""

    against: str = ""
    """Folder of another checkout, whose session runs the same trainings of one process; empty: none."""
    vocab: int = 2048
    context: int = 64
    layers: int = 2
    width: int = 128
    heads: int = 4
    batch: int = 8
    steps: int = 40
    trainings: int = 8
    """Of a session with one worker."""
    bare: int = 2
    """Trainings below torchrun before each session."""
    workers: tuple[int, ...] = (1, 2)
    repeats: int = 3

    def rows(self) -> Iterator[Row]:
        """Parts of a training, beside torchrun and beside the goals; all trainings together; losses; rows of metrics.

        Raises:
            ResourceError: a contender failed, or `against` is no checkout.
        """
        if self.against and not (Path(self.against) / "orchestrator" / "__init__.py").is_file():
            raise ResourceError("there is no checkout of MoME", self.against, "against=FOLDER, a clone's folder")
        found = _Found()
        with tempfile.TemporaryDirectory(prefix="mome-bench-") as folder:
            root = Path(folder)
            write_inputs(root, gpt2(self.layers, self.width, self.heads), self.vocab, self.context, self.batch * 64)
            shutil.copy(_overhead_job.__file__, root / "overhead_job.py")
            for _ in range(self.repeats):
                self._repeat(root, found)
        for workers in self.workers:
            yield from _parts(found, workers)
            yield from _losses(found, workers)
        yield from self._together(found)
        yield from self._goals(found)

    def _repeat(self, root: Path, found: _Found) -> None:
        here = str(Path(__file__).resolve().parents[1])
        for workers in self.workers:
            found.bare[workers] += [self._run(root, here, workers, 0) for _ in range(self.bare)]
            found.ours[workers].append(self._run(root, here, workers, self.trainings if workers == 1 else 2))
        if self.against:
            found.older.append(self._run(root, str(Path(self.against).resolve()), 1, self.trainings))

    def _run(self, root: Path, checkout: str, workers: int, trainings: int) -> Ended:
        """A session with some trainings, or with 0 of them, one training below torchrun."""
        out, marks = root / "trained", root / "marks"
        job = Job(str(root), str(out), str(marks), LANGUAGE, self._experts(), max(1, trainings), workers, threads=1)
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={workers}", "-m"]
        command = [sys.executable, "-m", *([] if trainings else launcher), "overhead_job", job.text()]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment["PYTHONPATH"] = os.pathsep.join((str(root), checkout))
        try:
            found = measure(command, environment, marks)
            return _ended(found, [out / str(number) / "out" / "metrics.jsonl" for number in range(job.trainings)])
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def _experts(self) -> dict[str, object]:
        tokens = self.batch * self.context
        training = {
            "tokens": tokens * self.steps,
            "batch_tokens": tokens,
            "micro_batch": self.batch // max(self.workers),
            "optimizer": {"type": "adamw", "lr": 1e-3},
            "precision": "fp32",
            "eval_every": 10**6,
            "eval_blocks": 8,
            "checkpoint_every": 10**6,
            "publish": "last",
        }
        return {"model": gpt2(self.layers, self.width, self.heads), "training": training}

    def _together(self, found: _Found) -> Iterator[Row]:
        """A session with all its trainings, Ray's start and end included."""
        case = f"{self.trainings} trainings, one after the other, the session's start and end included"
        for metric in (WALL, CPU):
            ours = [ended.whole[metric] for ended in found.ours[1]]
            bare = [self.trainings * ended.whole[metric] for ended in found.bare[1]]
            yield compare(f"{case}, beside torchrun", metric, "s", ours, bare)
            if found.older:
                older = [ended.whole[metric] for ended in found.older]
                yield compare(f"{case}, beside the older build", metric, "s", ours, older)
        if found.older:
            for case, trainings in (("first", slice(1)), ("later", slice(1, None))):
                for part in ("call to the stage's first line", "call to the end of the first optimizer step"):
                    for metric in (WALL, CPU):
                        ours, older = (_series(e, trainings, part, metric) for e in (found.ours[1], found.older))
                        yield compare(f"one worker, {case}, beside the older build: {part}", metric, "s", ours, older)

    def _goals(self, found: _Found) -> Iterator[Row]:
        part = "call to the end of the first optimizer step"
        for name, trainings, goal in (("first", slice(1), FIRST_SECONDS), ("later", slice(1, None), LATER_SECONDS)):
            ours = _series(found.ours[1], trainings, part, WALL)
            yield compare(f"one worker, {name}, beside the goal: {part}", WALL, "s", ours, [goal])
        ours, bare = (_series(each, slice(None), STEP_PART, WALL) for each in (found.ours[1], found.bare[1]))
        step = statistics.median(ours)
        ratio = step / statistics.median(bare)
        yield single("one worker, beside the goal: one optimizer step", "ours / torchrun's", "", ratio, STEP)
        written, silent = (statistics.median(row_seconds(written=written)) for written in (True, False))
        case = "a row of metrics at every optimizer step"
        yield single(f"{case}, beside a null writer", "time", "s", written, silent)
        yield single(f"{case}, beside the goal", "share of an optimizer step", "", written / step, METRICS)


def _parts(found: _Found, workers: int) -> Iterator[Row]:
    name = "one worker" if workers == 1 else f"{workers} workers"
    for which, trainings in (("first of a session", slice(1)), ("later", slice(1, None))):
        for part in (*PARTS, STEP_PART, "what a training adds"):
            metrics = {WALL: "s", CPU: "s"} if part in PARTS or part == STEP_PART else {PROCESSES: "", MEMORY: "MB"}
            for metric, unit in metrics.items():
                ours = _series(found.ours[workers], trainings, part, metric)
                if ours:
                    bare = _series(found.bare[workers], slice(None), part, metric)
                    yield compare(f"{name}, {which}: {part}, beside torchrun", metric, unit, ours, bare)


def _losses(found: _Found, workers: int) -> Iterator[Row]:
    """How many optimizer steps have another loss than torchrun's, of how many; and the last step's losses."""
    right = found.bare[workers][0].losses[0]
    pairs = [
        pair for ended in found.ours[workers] for losses in ended.losses for pair in zip(losses, right, strict=True)
    ]
    name = "one worker" if workers == 1 else f"{workers} workers"
    other = sum(ours != bare for ours, bare in pairs)
    yield single(f"{name}: losses other than torchrun's", "optimizer steps", "", other, len(pairs))
    furthest = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
    yield single(f"{name}: losses furthest apart, beside torchrun", "loss", "nat", *furthest)


def _series(ended: Sequence[Ended], trainings: slice, part: str, metric: str) -> list[float]:
    return [figures[part, metric] for each in ended for figures in each.trainings[trainings]]


def _ended(marks: Sequence[Mark], metrics: Sequence[Path]) -> Ended:
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
    found[STEP_PART, WALL] = statistics.median(seconds)
    found[STEP_PART, CPU] = (of["last"].cpu - of["first"].cpu) / len(seconds)
    found["what a training adds", PROCESSES] = of["last"].processes - of["call"].processes
    found["what a training adds", MEMORY] = (of["last"].bytes - of["call"].bytes) / 1e6
    return found
