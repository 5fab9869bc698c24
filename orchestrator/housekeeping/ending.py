"""Ending the process that is at work on a run, as Ctrl-C would."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import MomeError, ResourceError
from orchestrator.locks import Holder, holder

_LOOK_SECONDS = 0.1
_LEFT_SECONDS = 3.0
"""That a process which has let go of the run is given to end: a notebook's goes on."""


def stop_run(root: Path, say: Callable[[str], None], patience: float = 120.0) -> bool:
    """Interrupt the process that holds a run's lock, and wait until it has ended. What it has made stays.

    Args:
        root: the run's folder.
        say: is told what is waited for.
        patience: seconds.

    Returns:
        Whether the process has ended; False: it has let go of the run, and does something else (a notebook).

    Raises:
        MomeError: no process is at work, or one of another machine. ResourceError: it does not end; it is another
            user's.
    """
    at = _to_stop(root)
    _signal(root, at)
    say(f"told {at} to end; waiting for that")
    until, left = time.monotonic() + patience, None
    while at.is_alive:
        now = time.monotonic()
        if holder(root) != at:
            left = now if left is None else left
            if now - left > _LEFT_SECONDS:
                return False
        elif now > until:
            fix = f"kill -9 {at.pid}; the run then goes on from its last checkpoint with the same command"
            raise ResourceError(f"{at} has not ended within {patience:.0f} s", str(root), fix)
        time.sleep(_LOOK_SECONDS)
    return True


def _to_stop(root: Path) -> Holder:
    """The process to stop.

    Raises:
        MomeError: there is none here.
    """
    at = holder(root)
    if at is None:
        raise MomeError("no process is at work on this run", str(root), "mome ps lists what runs")
    if not at.pid:
        raise MomeError("the lock does not say which process is at work", str(root), "end it where it was started")
    if not at.is_here:
        fix = f"type this on {at.host}; for a submitted run: ray job stop"
        raise MomeError(f"this run is at work on another machine ({at})", str(root), fix)
    if not at.is_alive:
        fix = "type this where it was started, in its container say"
        raise MomeError(f"this run is at work ({at}), and its process can't be seen from here", str(root), fix)
    return at


def _signal(root: Path, at: Holder) -> None:
    number = signal.SIGTERM if at.ignores(signal.SIGINT) else signal.SIGINT
    try:
        os.kill(at.pid, number)
    except ProcessLookupError:
        return  # it has just ended
    except PermissionError:
        raise ResourceError(f"{at} is another user's", str(root), "ask who started it to stop it") from None
