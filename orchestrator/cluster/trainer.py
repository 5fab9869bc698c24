"""A stage on workers of Ray Train: the same on every one, restarted from its own checkpoints when a worker dies."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig

from orchestrator.cluster.away import AtHand, Away, at_hand
from orchestrator.cluster.errors import WorkerDiedError, sendable, translate
from orchestrator.cluster.groups import claim, removed_after_death
from orchestrator.cluster.lean import make_trainer
from orchestrator.cluster.retries import Retries
from orchestrator.cluster.session import is_own_cluster
from orchestrator.cluster.shared import check_shared, clear
from orchestrator.environment import Stoppable
from orchestrator.errors import OutOfMemoryError, StoppedEarlyError
from orchestrator.memory import PeakMemory
from orchestrator.resources import Allocation
from orchestrator.stages.base import Stage

_STOP = "stop"
_MEMORY_FILE = "memory"
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20)}
"""Large tensors are made and dropped in every operation. Memory that glibc does not give back each time saves 11,000
page faults a step of the quickstart's teacher, 8 % of its time."""
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Training:
    """What every worker of a training is given."""

    stage: Stage
    inputs: Mapping[str, Path]
    out: Path
    work: Path
    allocation: Allocation
    away: Away | None = None
    """Where the workers' nodes do not see the run's folder."""

    def begin(self) -> None:
        """Forget that an earlier attempt was stopped."""
        (self.work / _STOP).unlink(missing_ok=True)

    def stop(self) -> None:
        """Let its workers end, within seconds, as if they were killed: the next attempt goes on from a checkpoint."""
        if self.away:
            self.away.stop()
        with suppress(OSError):  # it has ended, and its folder is gone
            (self.work / _STOP).touch()

    @property
    def stopped(self) -> bool:
        """Whether it is to end; asked by its workers too."""
        if self.away and self.away.is_stopped:
            return True
        return (self.work / _STOP).exists()


Fit = Callable[[str, Training], None]


def train(
    name: str,
    training: Training,
    retries: Retries,
    say: Callable[[str], None],
    again: Callable[[Training], Training],
    fit: Fit | None = None,
) -> int:
    """Run a stage to its end, and say what memory its workers took, in bytes.

    A stage's own error ends it at once: a restart would only meet it again.

    Args:
        name: of the step.
        training: what its workers do.
        retries: what the training may meet.
        say: is told of restarts.
        again: waits until there is room for another attempt, and says what its workers get of what is there then.
        fit: has workers do it, once; None: workers of its own do.

    Raises:
        WorkerDiedError: workers died too often. StoppedEarlyError: it was stopped. Whatever the stage raises.
    """
    while True:
        try:
            (fit or fit_alone)(name, training)
        except (ray.train.TrainingFailedError, RayError, WorkerDiedError, OutOfMemoryError) as error:
            if training.stopped:
                raise StoppedEarlyError("the training was stopped", name) from None
            told = retries.spend(translate(error, name))
            say(f"{name}: {told}{' from the last checkpoint' if training.stage.distributed else ''}")
            training = again(training)
            most = retries.micro_batch or training.allocation.micro_batch
            training = replace(training, allocation=replace(training.allocation, micro_batch=most))
        else:
            break
    return sum(_memory_of(training, rank) for rank in range(training.allocation.workers))


def fit_alone(name: str, training: Training) -> None:
    """Have workers do a training that are started for it and end with it.

    Raises:
        TrainingFailedError, RayError: a worker died, or its stage failed.
    """
    config = {"training": ray.put(training)}  # by reference: the controller imports nothing of ours
    begin_fit(name, run_worker, config, training.allocation, training.work / "ray")()


def begin_fit(
    name: str, function: Callable[..., None], config: Mapping[str, Any], allocation: Allocation, storage: Path
) -> Callable[[], object]:
    """What runs `function` with `config` in Ray Train workers of an allocation, when it is called.

    `storage` is for Ray Train's own state, which nothing is read from: our loop resumes from its own checkpoints.
    """
    shutil.rmtree(storage, ignore_errors=True)
    group = storage.with_name(f"{storage.name}-group")
    worker = {"CPU": allocation.cpus_per_worker, "GPU": allocation.gpus_per_worker}
    trainer = make_trainer(
        function,
        process_group=allocation.workers > 1 or allocation.strategy.type != "single",
        train_loop_config={**config, "group": str(group), "watched": not is_own_cluster()},
        scaling_config=ScalingConfig(
            num_workers=allocation.workers, use_gpu=worker["GPU"] > 0, resources_per_worker=worker
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            # We try again ourselves, with what is there then.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
            worker_runtime_env={"env_vars": MEMORY},
        ),
    )

    def fit() -> object:
        with removed_after_death(group, only_ours=is_own_cluster()):
            return trainer.fit()

    return fit


def run_worker(config: Mapping[str, Any]) -> None:
    """The train function: run the stage of a training."""
    claim(Path(config["group"]))
    context = ray.train.get_context()
    with sendable():
        leaving = _is_leaving if config["watched"] else None
        work(ray.get(config["training"]), context.get_world_rank(), context.get_world_size(), leaving)


def _is_leaving() -> bool:
    return ray.train.get_preemption_info() is not None


def work(training: Training, rank: int = 0, world_size: int = 1, is_leaving: Callable[[], bool] | None = None) -> None:
    """Run a training's stage with this worker's place among the workers.

    Raises:
        ResourceError: this node does not see the run's folder. Whatever the stage raises.
    """
    import torch

    allocation = training.allocation
    torch.set_num_threads(allocation.threads)
    told = threading.Event()
    alone = world_size == 1  # of several workers, those that go on would wait for one that has ended
    with _ends_when_stopped(training, told if alone else None), PeakMemory() as memory, _folders(training, rank) as at:
        environment = Stoppable(
            work=at.work,
            device=allocation.device,
            threads=allocation.threads,
            strategy=allocation.strategy,
            rank=rank,
            world_size=world_size,
            micro_batch=allocation.micro_batch,
            tell=training.away.tell if training.away else None,
            keep=at.keep,
            is_leaving=is_leaving,
            is_stopped=told.is_set,
        )
        training.stage.run(at.inputs, at.out, environment)
    with suppress(OSError):  # no reason to lose a training
        name, text = f"{_MEMORY_FILE}-{rank}", str(memory.bytes)
        training.away.note(name, text) if training.away else (training.work / name).write_text(text)


@contextmanager
def _folders(training: Training, rank: int) -> Iterator[AtHand]:
    """What the stage reads and writes, as this node sees it."""
    if training.away:
        with at_hand(training.away, rank) as found:
            yield found
        return
    check_shared(training.out)
    if not training.stage.distributed:
        clear(training.out)
    yield AtHand(dict(training.inputs), training.out, training.work)


@contextmanager
def _ends_when_stopped(training: Training, told: threading.Event | None) -> Iterator[None]:
    """End this worker when its training is stopped. Ray Train has no way to, but for Ctrl-C in the main thread.

    Where it is `told`, its training has a moment to end by itself: then the worker lives on for the next one.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            if training.stopped:
                if told:
                    told.set()
                if not (told and over.wait(_GRACE_SECONDS)):
                    os._exit(1)

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _memory_of(training: Training, rank: int) -> int:
    """What a worker took, as it has said."""
    try:
        return int((training.work / f"{_MEMORY_FILE}-{rank}").read_text())
    except (OSError, ValueError):
        return 0
