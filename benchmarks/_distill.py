"""One contender of `mome bench distill`, trained in a process of its own.

Usage: python -m benchmarks._distill JOB (a :class:`Job` as JSON); prints an :class:`Outcome` as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._distill_job import LANGUAGE, OPTIMIZER, Job, Outcome
from orchestrator.allocator import kept_memory
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.losses import Positions
from orchestrator.losses.forward_kl import ForwardKL
from orchestrator.losses.reverse_kl import ReverseKL
from orchestrator.models.quick import quicken
from orchestrator.plugins import create
from orchestrator.schedules import LossHistory
from orchestrator.schedules.fixed import Fixed
from orchestrator.stages._teaching import cache_identity, teacher_model
from orchestrator.teacher import Cache
from orchestrator.training.batches import micro_batches
from orchestrator.training.device import arithmetic
from orchestrator.training.objective import CrossEntropyObjective, DistillationObjective, Objective
from orchestrator.training.step import Clock, train_step
from orchestrator.training.strategies.single import Single


@kept_memory()  # as every training
def train_ours(job: Job) -> Outcome:
    """Our step with strategy `single`: reading blocks, forward, backward, update."""
    config, env = TrainingConfig(precision=job.precision, micro_batch=job.batch), Environment(work=Path(job.folder))
    student, device = job.new_student(), torch.device("cpu")
    quicken(student, job.blocks.context, bf16=arithmetic(device, job.precision) == "bf16")  # as every training begins
    handle = Single().setup(student, OPTIMIZER, config, env)
    objective, blocks = _objective(job), job.blocks

    def step(number: int) -> float:
        rows = np.stack([np.zeros(job.batch, np.int64), np.arange(job.batch) + number * job.batch], axis=1)
        batches = list(micro_batches(blocks, rows, job.batch, 0, 1))
        clock = Clock(number, job.steps, seed=0)
        return train_step(handle, objective, batches, LossHistory(), OPTIMIZER.lr, clock, device).loss

    seconds, cpu_seconds, losses = [], [], []
    for number in range(job.steps):
        start, cpu = time.perf_counter(), time.process_time()
        losses.append(step(number))
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu)
    if not job.shares:
        return Outcome(seconds, cpu_seconds, losses)
    if isinstance(objective, DistillationObjective):
        _mark(objective.teacher, "states", "teacher")
    _mark(handle, "step", "optimizer")
    return Outcome(seconds, cpu_seconds, losses, _shares(lambda: step(0)))


def _objective(job: Job) -> Objective:
    if job.teacher == "none":
        return CrossEntropyObjective()
    folder, blocks = Path(job.folder), job.blocks
    caches = {}
    if job.teacher != "live":
        identity = cache_identity(PluginSpec(type=job.teacher), folder / "teacher", blocks, LANGUAGE)
        caches[0] = Cache(folder / f"{job.teacher}-{job.precision}", identity)
    model = teacher_model(folder / "teacher", "cpu", blocks, caches)
    teacher = create("teacher", job.teacher, {}).open(model)
    soft = ForwardKL() if job.teacher == "sampled_cache" else ReverseKL()
    schedule = Fixed(alpha=job.alpha)
    positions = Positions(job.positions, job.by_entropy)
    return DistillationObjective(soft=soft, schedule=schedule, teacher=teacher, positions=positions)


def _mark(target: object, method: str, label: str) -> None:
    """Let the profiler see calls of a method under `label`."""
    original = getattr(target, method)

    def marked(*arguments: Any) -> Any:
        with torch.profiler.record_function(label):
            return original(*arguments)

    setattr(target, method, marked)


def _shares(step: Callable[[], object], steps: int = 3) -> dict[str, float]:
    """Shares of a step's time by part, by torch's profiler."""
    with torch.profiler.profile() as profile:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        total = time.perf_counter() - start
    found = {event.key: event.cpu_time_total / 1e6 / total for event in profile.key_averages()}
    names = {"teacher": "teacher", "_ChunkedLoss": "loss, with both heads", "optimizer": "clipping and optimizer"}
    shares = {name: found[key] for key, name in names.items()}
    return {**shares, "student's layers, forward and backward, and the rest": 1 - sum(shares.values())}


def main(text: str) -> None:
    """Train one contender and print its outcome."""
    job = Job(**json.loads(text))
    torch.set_num_threads(job.threads)
    if job.way == "ours":
        outcome = train_ours(job)
    else:
        from benchmarks._trainers import train_with_trainer

        outcome = train_with_trainer(job)
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main(sys.argv[1])
