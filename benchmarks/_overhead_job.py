"""What a contender of `mome bench overhead` does: short trainings, one after the other, that mark how far they are.

Usage: python -m overhead_job JOB, alone for our stack, and below `python -m torch.distributed.run` for bare trainings.
This file is copied beside its inputs, where processes of any checkout import it; it imports nothing of `benchmarks`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ExpertsConfig, ResourcesConfig
from orchestrator.stages.expert import ExpertStage


@dataclass(frozen=True)
class Job:
    """What a contender trains.

    Attributes:
        inputs: folder with `blocks`, `tokenizer` and `teacher`.
        out: folder that a training `number` writes `number/out/` and `number/work/` into.
        marks: named pipe that marks are written to, a line of JSON each.
        language: of the expert.
        experts: the recipe's section.
        trainings: how many, one after the other.
        workers: processes of each.
        threads: of each process.
    """

    inputs: str
    out: str
    marks: str
    language: str
    experts: Mapping[str, Any]
    trainings: int
    workers: int
    threads: int

    def text(self) -> str:
        """The argument JOB."""
        return json.dumps(asdict(self))

    def prepare(self, number: int) -> tuple[TimedExpert, dict[str, Path], Path, Path]:
        """The stage of a training, its inputs, and its folders `out` and `work`."""
        experts = ExpertsConfig.model_validate(self.experts)
        stage = TimedExpert(language=self.language, experts=experts, seed=0, marks=self.marks, number=number)
        folders = [Path(self.out) / str(number) / name for name in ("out", "work")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        inputs = {name: Path(self.inputs) / name for name in ("blocks", "tokenizer", "teacher")}
        return stage, inputs, folders[0], folders[1]


class TimedExpert(ExpertStage):
    """An expert that marks its first line and its first and last optimizer step."""

    marks: str
    number: int

    def run(self, inputs: Mapping[str, Path], out: Path, env: Any) -> None:
        """See :class:`orchestrator.stages.base.Stage`."""
        if env.rank == 0:
            mark(self.marks, self.number, "stage")
            env = _Stamped(env, self.marks, self.number)
        super().run(inputs, out, env)


class _Stamped:
    """An environment whose rows of metrics are stamped: a run this short writes one at every optimizer step."""

    def __init__(self, env: Any, marks: str, number: int) -> None:
        self._env, self._marks, self._number = env, marks, number
        self._ends: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def log(self, row: Mapping[str, Any]) -> None:
        self._env.log(row)
        if "loss" not in row:
            return
        self._ends.append(time.monotonic())
        if row["step"] == 1:
            mark(self._marks, self._number, "first")
        if row["step"] == row["steps"]:
            seconds = [round(after - before, 6) for before, after in zip(self._ends, self._ends[1:], strict=False)]
            mark(self._marks, self._number, "last", seconds)


def mark(marks: str, number: int, name: str, values: list[float] | None = None) -> None:
    """Say that training `number` is at a point called `name`; the line is short enough to be written as one."""
    line = json.dumps({"number": number, "name": name, "time": time.monotonic(), "values": values or []})
    with open(marks, "ab", buffering=0) as pipe:  # noqa: PTH123  a pipe
        pipe.write(line.encode() + b"\n")


def main() -> None:
    """Do the job."""
    job = Job(**json.loads(sys.argv[1]))
    if "RANK" in os.environ:
        _train_bare(job, int(os.environ["RANK"]))
    else:
        _train_through_ray(job)


def _train_bare(job: Job, rank: int) -> None:
    import torch

    from orchestrator.environment import Environment

    torch.set_num_threads(job.threads)
    stage, inputs, out, work = job.prepare(0)
    strategy = PluginSpec(type="single" if job.workers == 1 else "deepspeed")
    env = Environment(work, threads=job.threads, strategy=strategy, rank=rank, world_size=job.workers)
    stage.run(inputs, out, env)
    if torch.distributed.is_initialized():  # its threads may outlive the interpreter, which then aborts
        torch.distributed.destroy_process_group()


def _train_through_ray(job: Job) -> None:
    from orchestrator.cluster.runner import RayRunner
    from orchestrator.cluster.session import session
    from orchestrator.pipeline.graph import Step

    resources = ResourcesConfig(device="cpu", slots=1, workers=job.workers, threads=job.threads)
    with session(resources):
        runner = RayRunner(resources)
        for number in range(job.trainings):
            stage, inputs, out, work = job.prepare(number)
            mark(job.marks, number, "call")
            runner.run(Step(f"expert-{number}", stage), inputs, out, work)
            mark(job.marks, number, "end")
        runner.close()


if __name__ == "__main__":
    from overhead_job import main  # type: ignore[import-not-found,no-redef]  # workers import its stage by that name

    main()
