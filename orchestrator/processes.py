"""The ordered, bounded parallel map over worker processes: what stages see as `env.map` without Ray."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import ResourceError

_LONGEST_SOCKET = 100
"""Bytes of a socket's path that every system allows (103 on macOS, 107 on Linux)."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def large_imports() -> Iterator[None]:
    """Import large packages in the block, without Python's garbage collector.

    It would go through all that is there again and again: a quarter of the time that torch and transformers take.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
                with _hidden_script():  # a worker that is wanted starts here
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


@contextmanager
def _hidden_script() -> Iterator[None]:
    """Let new workers not see which file this process was started with: they would run it, to find its functions.

    So a script that calls :func:`orchestrator.run` needs no ``if __name__ == "__main__"``: what workers do is imported.
    """
    main = sys.modules["__main__"]
    hidden = {name: value for name in ("__file__", "__spec__") if (value := getattr(main, name, None)) is not None}
    for name in hidden:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


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
