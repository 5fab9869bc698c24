"""A stage as workers run it. Free of Ray Train, whose import takes a second of a core: not every worker needs it."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cluster.away import AtHand, Away, at_hand
from orchestrator.cluster.shared import check_shared, clear
from orchestrator.environment import Stoppable
from orchestrator.memory import PeakMemory
from orchestrator.processes import large_imports
from orchestrator.resources import Allocation
from orchestrator.stages.base import Stage

_STOP = "stop"
_MEMORY_FILE = "memory"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
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


def get_ready() -> None:
    """What a process that trains does first: its memory, and imports that every training needs."""
    keep_memory()
    with large_imports():
        import transformers.modeling_utils  # noqa: F401

        import orchestrator.training.publish  # noqa: F401


def keep_memory() -> None:
    """Let glibc not give back each time what large tensors took, which are made and dropped in every operation.

    It saves 11,000 page faults a step of the quickstart's teacher, 8 % of its time. As variables of the environment the
    same settings make Ray start each worker by way of another process.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_TRIM_THRESHOLD, 512 * 2**20)


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


def memory_of(training: Training, rank: int) -> int:
    """What a worker took, as it has said."""
    try:
        return int((training.work / f"{_MEMORY_FILE}-{rank}").read_text())
    except (OSError, ValueError):
        return 0
