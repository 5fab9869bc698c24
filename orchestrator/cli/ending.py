"""How a command ends that could not do what it was told: a message, an exit code, and never a traceback unasked."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from orchestrator.faults import explained

TRACEBACK = "MOME_TRACEBACK"
"""Environment variable that, set to anything, has tracebacks printed too."""
INTERRUPTED = 130
"""Exit code of a program that Ctrl-C has ended: 128 and the number of SIGINT."""
STEP_THREAD = "step "
"""What names of threads begin with that run the steps of a plan (orchestrator/pipeline/execute.py)."""


def run_to_its_end(command: Callable[[], object]) -> None:
    """Run a command: what a person can mend ends in a message and exit code 2, a fault of ours in a line and code 1.

    SIGTERM, which `mome stop`, `timeout` and job schedulers send, and SIGHUP, which a terminal sends that is closed,
    end it as Ctrl-C does: with code 130.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:  # nohup has SIGHUP ignored
            signal.signal(number, signal.default_int_handler)
    # Ray would connect again from a thread of its own that asks for something once the command has left the cluster.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    atexit.register(gc.freeze)  # to go through all that it has imported, with Ray and MLflow, takes seconds
    try:
        command()
    except Exception as error:
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        say_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        if end.code not in (INTERRUPTED, signal.SIGTERM):
            raise
        say_interrupted()  # typer's answer to Ctrl-C, and Ray's to SIGTERM while it connects, say nothing
        sys.exit(INTERRUPTED)


def exit_code(error: Exception) -> int:
    """Say what happened on the standard error; the exit code: 2 for what a person can mend, 1 for a fault of ours."""
    said = explained(error, "", Path(tempfile.gettempdir()))
    if os.environ.get(TRACEBACK):
        traceback.print_exception(said)
    print(f"mome: {said}", file=sys.stderr, flush=True)
    return said.exit_code


def say_interrupted() -> None:
    """Say that the command goes on later. Where a step is still at work in a thread, end the process here.

    Python would end such a thread in the middle of torch, which aborts the process: with a core dump and another code.
    Worker processes of the step are ended first: what runs at exit waits for them, and they would wait for work.
    """
    later = "" if sys.argv[1:2] == ["serve"] else "; a run goes on from here with the same command"
    with suppress(OSError):  # the terminal may be gone
        print(f"mome: interrupted{later}", file=sys.stderr, flush=True)
    if any(thread.name.startswith(STEP_THREAD) for thread in threading.enumerate()):
        for worker in multiprocessing.active_children():
            worker.terminate()
        atexit._run_exitfuncs()
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(INTERRUPTED)
