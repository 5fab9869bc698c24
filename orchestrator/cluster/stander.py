"""What a worker that stands ready does; :mod:`orchestrator.cluster.standing` starts it."""

from __future__ import annotations

import gc
import traceback
from contextlib import suppress
from multiprocessing.connection import Client

import ray

from orchestrator.cluster.sending import sendable
from orchestrator.cluster.training import Training, get_ready, work
from orchestrator.errors import MomeError


@ray.remote(max_calls=1)  # type: ignore[untyped-decorator]
def serve_trainings(address: str, key: bytes) -> None:
    """Do what comes over the line until it is closed; the process then ends, and its memory is free."""
    get_ready()  # the first one may not be there yet
    gc.freeze()  # what was imported stays, and need not be gone through after each training

    with Client(address, authkey=key) as line, suppress(EOFError):
        while True:
            line.send(_error_of(line.recv()))
            gc.collect()  # a model of the last training, before the next one's is made


def _error_of(training: Training) -> BaseException | None:
    try:
        with sendable():
            work(training)
    except BaseException as error:
        if not isinstance(error, MomeError):  # a fault: its traceback stays in this process, so send it as text
            error.add_note(traceback.format_exc())
        return error
    return None
