"""What our stack costs beside torchrun: the same short trainings of an expert, below it and through Ray, in one run."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmarks import _overhead_job
from benchmarks._distill_inputs import write_inputs
from benchmarks._distill_job import LANGUAGE, gpt2
from benchmarks._overhead_figures import (
    CPU,
    ONE_STEP,
    TO_STAGE,
    TO_STEP,
    WALL,
    Ended,
    Found,
    ended,
    loss_rows,
    part_rows,
    series,
)
from benchmarks._overhead_job import Job
from benchmarks._overhead_meter import measure
from benchmarks._overhead_metrics import row_seconds
from benchmarks._rows import Row, compare, single
from orchestrator.errors import ResourceError
from orchestrator.training.metrics import ROWS

FIRST_SECONDS, LATER_SECONDS, STEP, METRICS = 6.0, 2.0, 1.02, 0.01
"""Goals: seconds from the call to the first optimizer step, the ratio of a step's times, the share of a row's time."""


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
    batch: Annotated[int, Field(ge=2, multiple_of=2)] = 8
    steps: Annotated[int, Field(ge=2, le=ROWS)] = 40
    trainings: Annotated[int, Field(ge=2)] = 8
    """Of a session with one worker."""
    bare: Annotated[int, Field(ge=1)] = 2
    """Trainings below torchrun before each session."""
    two: bool = True
    """Measure trainings of two workers, too."""
    repeats: Annotated[int, Field(ge=1)] = 3

    def rows(self) -> Iterator[Row]:
        """Parts of a training, beside torchrun and beside the goals; all trainings together; losses; rows of metrics.

        Raises:
            ResourceError: a contender failed, or `against` is no checkout.
        """
        if self.against and not (Path(self.against) / "orchestrator" / "__init__.py").is_file():
            raise ResourceError("there is no checkout of MoME", self.against, "against=FOLDER, a clone's folder")
        found = Found()
        with tempfile.TemporaryDirectory(prefix="mome-bench-") as folder:
            root = Path(folder)
            write_inputs(root, gpt2(self.layers, self.width, self.heads), self.vocab, self.context, self.batch * 64)
            shutil.copy(_overhead_job.__file__, root / "overhead_job.py")
            for _ in range(self.repeats):
                self._repeat(root, found)
        for workers in (1, 2)[: 1 + self.two]:
            yield from part_rows(found, workers)
            yield from loss_rows(found, workers)
        yield from self._together(found)
        yield from self._goals(found)

    def _repeat(self, root: Path, found: Found) -> None:
        here = str(Path(__file__).resolve().parents[1])
        for workers in (1, 2)[: 1 + self.two]:
            found.bare[workers] += [self._run(root, here, workers, 0) for _ in range(self.bare)]
            found.ours[workers].append(self._run(root, here, workers, self.trainings if workers == 1 else 2))
            if workers == 1 and self.against:
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
            return ended(found, [out / str(number) / "out" / "metrics.jsonl" for number in range(job.trainings)])
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def _experts(self) -> dict[str, object]:
        tokens = self.batch * self.context
        training = {
            "tokens": tokens * self.steps,
            "batch_tokens": tokens,
            "micro_batch": self.batch // 2,
            "optimizer": {"type": "adamw", "lr": 1e-3},
            "precision": "fp32",
            "eval_every": 10**6,
            "eval_blocks": 8,
            "checkpoint_every": 10**6,
            "publish": "last",
        }
        return {"model": gpt2(self.layers, self.width, self.heads), "training": training}

    def _together(self, found: Found) -> Iterator[Row]:
        """A session with all its trainings, Ray's start and end included."""
        case = f"{self.trainings} trainings, one after the other, the session's start and end included"
        for metric in (WALL, CPU):
            ours = [each.whole[metric] for each in found.ours[1]]
            bare = [self.trainings * each.whole[metric] for each in found.bare[1]]
            yield compare(f"{case}, beside torchrun", metric, "s", ours, bare)
            if found.older:
                older = [each.whole[metric] for each in found.older]
                yield compare(f"{case}, beside the older build", metric, "s", ours, older)
        if found.older:
            for case, trainings in (("first", slice(1)), ("later", slice(1, None))):
                for part in (TO_STAGE, TO_STEP):
                    for metric in (WALL, CPU):
                        ours, older = (series(e, trainings, part, metric) for e in (found.ours[1], found.older))
                        yield compare(f"one worker, {case}, beside the older build: {part}", metric, "s", ours, older)

    def _goals(self, found: Found) -> Iterator[Row]:
        for name, trainings, goal in (("first", slice(1), FIRST_SECONDS), ("later", slice(1, None), LATER_SECONDS)):
            ours = series(found.ours[1], trainings, TO_STEP, WALL)
            yield compare(f"one worker, {name}, beside the goal: {TO_STEP}", WALL, "s", ours, [goal])
        ours, bare = (series(each, slice(None), ONE_STEP, WALL) for each in (found.ours[1], found.bare[1]))
        step = statistics.median(ours)
        ratio = step / statistics.median(bare)
        yield single("one worker, beside the goal: one optimizer step", "ours / torchrun's", "", ratio, STEP)
        written, silent = (statistics.median(row_seconds(written=written)) for written in (True, False))
        case = "a row of metrics at every optimizer step"
        yield single(f"{case}, beside a null writer", "time", "s", written, silent)
        yield single(f"{case}, beside the goal", "share of an optimizer step", "", written / step, METRICS)
