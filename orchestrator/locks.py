"""The lock of a run's folder: one process is at work in a folder, and the lock's file says which process.

``run.lock`` holds a :class:`Holder` as JSON while a process holds the lock, and nothing afterwards. A killed process
leaves its text behind, so a text alone means nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import psutil

from orchestrator.disk import disk_errors
from orchestrator.errors import ResourceError, RunLockedError

LOCK = "run.lock"
_TRIES, _PAUSE, _WAIT = 5, 0.02, 0.5
"""Whoever asks for a run's holder may hold the lock for a moment (see :func:`holder`)."""
_MOMENT = 1.0
"""Seconds between taking the lock and writing its text, on a very busy machine."""
_CLOCK_SECONDS = 2.0
"""What a process is said to have started at moves with the machine's clock."""
_LOGIN = re.compile(r"://[^/@\s]+@")
"""Name and password in an address."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a run's lock.

    Attributes:
        host: name of its machine.
        pid: its number there; 0: not known.
        started: seconds since 1970 when the process began.
        since: when it took the lock, UTC, ISO 8601.
        command: its command line.
    """

    host: str = ""
    pid: int = 0
    started: float = 0.0
    since: str = ""
    command: tuple[str, ...] = ()

    @classmethod
    def this(cls) -> Holder:
        """The process that asks."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        command = tuple(_LOGIN.sub("://…@", word) for word in sys.orig_argv)
        return cls(os.uname().nodename, os.getpid(), psutil.Process().create_time(), now, command)

    @property
    def is_here(self) -> bool:
        """Whether its machine is this one."""
        return self.host == os.uname().nodename

    @property
    def is_alive(self) -> bool:
        """Whether it is a process of this machine that has not ended."""
        if not (self.is_here and self.pid):
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _CLOCK_SECONDS
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def ignores(self, number: signal.Signals) -> bool:
        """Whether it ignores a signal, as what a script has put in the background does with Ctrl-C."""
        with suppress(OSError, ValueError, StopIteration):
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
            ignored = int(next(line for line in lines if line.startswith("SigIgn:")).split()[1], 16)
            return bool(ignored >> (number - 1) & 1)
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "another process"


@contextmanager
def locked(root: Path, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the run folder; a killed process lets go by dying.

    Args:
        root: of the run.
        say: a second process waits, and says so in a line; None: it is refused.

    Raises:
        RunLockedError: another process holds it. ResourceError: the folder can't be written to, or not be locked.
    """
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / LOCK).open("a+", encoding="utf-8")
    with lock as file:
        _take(file, root, say)
        file.truncate(0)
        file.write(json.dumps(asdict(Holder.this())))
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                file.truncate(0)


def holder(root: Path) -> Holder | None:
    """Who holds a run's lock; None: nobody. Nothing is written.

    The lock is tried only where the text of its file names no process that is alive here: for that moment, shared, it
    is held.

    Raises:
        OSError: the lock's file can't be read.
    """
    try:
        with (root / LOCK).open(encoding="utf-8", errors="replace") as file:
            found = _read(file)
            if found.is_alive:
                return found
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _awaited(file)
            except OSError:  # no locks on this file system: nobody holds one
                return None
            return None
    except FileNotFoundError:
        return None


def _awaited(file: IO[str]) -> Holder:
    """The holder that a lock's file names; who has just taken the lock has a moment to write."""
    end = time.monotonic() + _MOMENT
    while True:
        file.seek(0)
        found = _read(file)
        if found.pid or time.monotonic() > end:
            return found
        time.sleep(_PAUSE)


def _take(file: IO[str], root: Path, say: Callable[[str], None] | None) -> None:
    tries = _TRIES
    while not _taken(file, root):
        tries -= 1
        if tries > 0:
            time.sleep(_PAUSE)
            continue
        file.seek(0)
        what = f"this run is at work already ({_read(file)})"
        if say is None:
            raise RunLockedError(what, str(root), "wait for it, or give this run another name")
        if not tries:
            say(f"{what}: waiting for its end; `mome logs -f {root.name}` shows it, Ctrl-C leaves it alone")
        time.sleep(_WAIT)


def _taken(file: IO[str], root: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        fix = "choose a folder on another file system: --runs FOLDER"
        raise ResourceError(f"files can't be locked here: {error.strerror}", str(root), fix) from None
    return True


def _read(file: IO[str]) -> Holder:
    """The holder that a lock's file names; one that is not known where it names none."""
    with suppress(ValueError, TypeError, KeyError):
        facts = json.loads(file.read())
        return Holder(
            str(facts["host"]),
            int(facts["pid"]),
            float(facts["started"]),
            str(facts["since"]),
            tuple(map(str, facts["command"])),
        )
    return Holder()
