"""Steps without Ray: one at a time in this process, data work in worker processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.environment import Environment
from orchestrator.errors import ResourceError, StoppedEarlyError
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.memory import MeasuredMap, PeakMemory, Used
from orchestrator.stages.base import Stage

_LONGEST_SOCKET = 100
"""Bytes of a socket's path that every system allows (103 on macOS, 107 on Linux)."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalRunner:
    """Runs each step in this process. Needs none of ray, deepspeed, mlflow and datasets."""

    def __init__(self, resources: ResourcesConfig) -> None:
        self._resources = resources
        self._lock = threading.Lock()
        self._stopped: set[str] = set()
        self._map = ProcessMap(int(resources.cpus or os.cpu_count() or 1))

    def run(
        self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None] = lambda: None
    ) -> Used:
        """Run a step; others wait their turn.

        Raises:
            ResourceError: GPUs or several workers asked for and not to be had here. Whatever the stage raises.
        """
        import torch

        self._stopped.discard(step.name)  # an earlier plan's
        with self._lock:
            begun()
            threads = self._resources.threads or int(self._resources.cpus or os.cpu_count() or 1)
            torch.set_num_threads(threads)
            environment = self._environment(step.stage, work, threads)
            stoppable = Stoppable(**vars(environment), is_stopped=lambda: self._is_stopped(step.name))
            with PeakMemory() as memory:
                step.stage.run(inputs, out, replace(stoppable, map=MeasuredMap(environment.map, memory)))
        return Used(memory.bytes, here=True)

    def stop(self, name: str) -> None:
        """Let a step end at its next metrics; one that waits is not let in by who started it."""
        self._stopped.add(name)

    def close(self) -> None:
        """End the worker processes."""
        self._map.close()

    def _is_stopped(self, name: str) -> bool:
        return name in self._stopped

    def _environment(self, stage: Stage, work: Path, threads: int) -> Environment:
        resources = self._resources
        if resources.workers > 1:
            raise ResourceError(
                f"{resources.workers} training workers need Ray",
                "resources.workers",
                "leave out --local, or set resources.workers=1",
            )
        strategy = resources.strategy
        if strategy == "auto" or (spreads_parts(resources) and not stage.by_parts):
            strategy = PluginSpec(type="single")
        return Environment(
            work=work, map=self._map, device=choose_device(resources.device), threads=threads, strategy=strategy
        )


@dataclass(frozen=True)
class Stoppable(Environment):
    """Ends a stage at its next metrics once it is to stop."""

    is_stopped: Callable[[], bool] = lambda: False

    def log(self, row: Mapping[str, Any]) -> None:
        """See :class:`orchestrator.environment.Environment`.

        Raises:
            StoppedEarlyError: the stage is to stop.
        """
        if self.is_stopped():
            raise StoppedEarlyError("stopped")
        super().log(row)


def spreads_parts(resources: ResourcesConfig) -> bool:
    """Whether the strategy is only for models of parts; what has none is trained as by default."""
    strategy = resources.strategy
    return strategy != "auto" and bool(getattr(build("training.strategies", strategy), "by_parts", False))


def choose_device(wanted: str) -> str:
    """The device, "cpu" or "cuda", for what a recipe wants: "auto", "cpu" or "cuda".

    Raises:
        ResourceError: "cuda" asked for where torch sees no GPU.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ResourceError(
            "a GPU was asked for and torch sees none", "resources.device", "mome doctor, or resources.device=cpu"
        )
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


class ProcessMap:
    """The ordered, bounded parallel map over worker processes; they start at the first use that has two items."""

    def __init__(self, workers: int) -> None:
        self._workers = max(1, workers)
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items; at most four items a worker are in flight.

        Raises:
            ResourceError: a worker process was killed. Whatever `function` raises.
        """
        iterator = iter(items)
        head = list(itertools.islice(iterator, 2))
        if len(head) < 2 or self._workers == 1:
            yield from map(function, itertools.chain(head, iterator))
            return
        pool = self._start()
        pending: deque[Future[Result]] = deque()
        try:
            for item in itertools.chain(head, iterator):
                pending.append(pool.submit(function, item))
                if len(pending) >= 4 * self._workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            self._pool = None
            raise ResourceError(
                "a worker process was killed, most likely for want of memory", fix="set resources.cpus lower"
            ) from None
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context(_start_method())
            self._pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin_worker)
        return self._pool


def _start_method() -> str:
    """Not by fork, since this process has threads; by a server of workers where its socket's path is short enough."""
    path = Path(tempfile.gettempdir()) / "pymp-12345678" / "listener-12345678"  # as multiprocessing names it
    return "forkserver" if len(os.fsencode(path)) <= _LONGEST_SOCKET else "spawn"


def _begin_worker() -> None:
    # The workers are the parallelism: no thread pools on top of them. Read when torch and tokenizers are imported.
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker of a killed run would wait for work for ever: each holds the pipe open that would tell the others."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
