"""What a program does at SIGTERM, also while it is part of a cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_handler() -> Iterator[None]:
    """Put the program's own handler of SIGTERM back after the block, in which Ray sets two of its own.

    After Ray 2.60's `ray.init` a process ends with code 15 at SIGTERM, and C++ prints a stack. A step in a thread is
    then cut off in the middle of torch, which aborts the process. A program without a handler keeps Ray's: it stops
    the cluster.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
