"""Workers that stand ready: a task of Ray a slot, which takes a training, and then the next one.

Starting a training is starting a process that imports torch and transformers: seconds of a core, a good part of what a
small expert trains for. Only for trainings of one worker without a process group, which need nothing of Ray Train and
are spared its processes; and on a cluster of this run's own, where nobody else waits for the CPUs that a standing
worker holds.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import ray

from orchestrator.cluster.errors import WorkerDiedError, translate
from orchestrator.cluster.stander import serve_trainings
from orchestrator.cluster.training import Training
from orchestrator.errors import MomeError, StoppedEarlyError
from orchestrator.resources import Allocation

NAME = "StandingWorker"
_END_SECONDS = 3.0


def can_stand(allocation: Allocation) -> bool:
    """Whether one process can train all models of such an allocation, one after the other."""
    return allocation.device == "cpu" and allocation.workers == 1 and allocation.strategy.type == "single"


class StandingWorkers:
    """As many workers as trainings have been at work at one time; `allocation` is what each holds of the cluster."""

    def __init__(self, folder: Path, allocation: Allocation) -> None:
        self._folder, self._allocation = folder, allocation
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy = 0
        self._closed = self._over = False
        self._awaited: list[_Worker] = []  # who may not have called yet

    def get_ready(self, count: int) -> None:
        """Start workers before there is something to do, until there are so many, those at work included."""
        with self._lock:
            missing = count - len(self._idle) - self._busy
            self._idle += [self._worker() for _ in range(missing)]

    def fit(self, name: str, training: Training, begun: Callable[[], None] = lambda: None) -> None:
        """Run a training to its end in a worker that is free, or in a new one.

        Args:
            name: of the step.
            training: what the worker does.
            begun: called when the worker stands ready; what it raises ends the training.

        Raises:
            WorkerDiedError: the worker died. StoppedEarlyError: the run ends. Whatever the stage raises.
        """
        with self._lock:
            worker = self._idle.pop() if self._idle else self._worker()
            self._busy += 1
        stands = False
        try:
            worker.wait(name)
            stands = True
            begun()
            stands = False
            error = worker.do(name, training)
            stands = True
        finally:
            with self._lock:
                self._busy -= 1
                self._idle += [worker] if stands else []
        if self._closed:
            self.close()
        if error is not None:
            raise error

    def close(self) -> None:
        """Let the workers end that have nothing to do; others end after what they do."""
        with self._lock:
            self._closed = True
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.join()

    def end(self) -> None:
        """Start no more workers, and take away the sockets where they call: their folder is about to go.

        A training that meets its worker's death then would start another one: its socket would be removed twice.
        """
        with self._lock:
            self._over = True
        self.close()
        for worker in self._awaited:
            worker.deafen()

    def _worker(self) -> _Worker:
        """A new one; the lock is held."""
        if self._over:
            raise StoppedEarlyError("the run ends", "a worker")
        worker = _Worker(self._folder, self._allocation)
        self._awaited = [other for other in self._awaited if other.is_awaited] + [worker]
        return worker


class _Worker:
    """A worker process, and the line to it: trainings go one way, their errors or None come back."""

    def __init__(self, folder: Path, allocation: Allocation) -> None:
        name = f"worker-{secrets.token_hex(4)}"
        self._address, self._key = str(folder / name), secrets.token_bytes(32)
        self._listener = Listener(self._address, authkey=self._key)
        self._line: Connection | None = None
        self._end: BaseException | None = None
        task = serve_trainings.options(name=NAME, num_cpus=allocation.cpus_per_worker, max_retries=0)
        serving = task.remote(self._address, self._key)
        self._thread = threading.Thread(target=self._run, args=(serving,), name=name, daemon=True)
        self._thread.start()

    def wait(self, name: str) -> None:
        """Until it stands ready for a training.

        Raises:
            WorkerDiedError: the worker died. MomeError: it could not be started.
        """
        with self._living(name):
            if self._line is None:
                self._line = self._listener.accept()
                self._listener.close()  # its file is not to outlive the folder, where this process is interrupted

    def do(self, name: str, training: Training) -> BaseException | None:
        """Have a training done by a worker that stands ready; its error, if it has one.

        Raises:
            WorkerDiedError: the worker died.
        """
        assert self._line is not None
        with self._living(name):
            self._line.send(training)
            error: BaseException | None = self._line.recv()
        return error

    @property
    def is_awaited(self) -> bool:
        """Whether it has not called yet."""
        return self._line is None

    def dismiss(self) -> None:
        """Let it end."""
        if self._line is not None:
            self._line.close()
        self._listener.close()

    def deafen(self) -> None:
        """Take no call any more; who waits for one gets one that says nothing."""
        self._call()
        self._listener.close()

    def join(self) -> None:
        """Wait for its end, not for long."""
        self._thread.join(_END_SECONDS)

    @contextmanager
    def _living(self, name: str) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError, AuthenticationError):
            self.dismiss()
            self._thread.join()
            raise self._death(name) from None

    def _run(self, serving: Any) -> None:
        try:
            ray.get(serving)
        except BaseException as error:
            self._end = error
        finally:  # whoever still waits for the worker's call gets one that says nothing
            self._call()

    def _call(self) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as call:
            call.connect(self._address)

    def _death(self, name: str) -> BaseException:
        cause = translate(self._end, name) if self._end is not None else None
        return cause if isinstance(cause, MomeError) else WorkerDiedError("a worker process ended", name)
