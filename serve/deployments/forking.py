"""Processes of one machine's endpoint as forks of one that has imported what all of them need. Imports nothing of ours.

What a process has imported takes most of its memory, and most of the time until it is there. Forks share it. Ray starts
this file, with the worker's command behind it, in the place of Python (`py_executable` of a runtime environment). That
asks the parent for a fork that becomes the worker, and ends. Where no parent answers, or a fork would not be what a
process of its own is, it becomes the worker itself, as it would be without this.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

POSSIBLE = sys.platform == "linux"
"""Elsewhere, libraries that were imported may not be forked."""
_SHARED = ("ray._private.workers.default_worker", "ray.serve._private.replica", "ray.serve._private.controller",
           "serve.expert", "serve.ingress", "serve.deployments.keeper", "serve.engine")  # fmt: skip
_OF_SHELLS = ("PWD", "OLDPWD", "SHLVL", "_")
"""Variables that a shell sets: no others may differ, as libraries read them when they are imported."""
_READ_AT_START = ("PYTHON", "LD_", "MALLOC_")
"""Beginnings of those that are read before anything is imported."""
_STANDARD = (0, 1, 2)
_YES = b"+"
_ASK_SECONDS = 5.0


@contextmanager
def forking(folder: Path) -> Iterator[str]:
    """A parent for the time of the block; the command that asks it for a process, as Ray takes it.

    The parent ends with this process too, whatever ends that. Its forks go on: Ray ends them.

    Args:
        folder: that its user alone may enter; the parent's socket is there.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/parent")
        listener.listen(64)
        command = [sys.executable, "-m", __name__, str(listener.fileno())]
        parent = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True)
        listener.close()
        try:
            yield shlex.join([sys.executable, "-I", "-S", str(Path(__file__).resolve()), f"{folder}/parent"])
        finally:
            parent.kill()
            parent.communicate()


def ask(parent: str, command: Sequence[str]) -> bool:
    """Have a process forked that becomes a Python command with this one's files, environment, folder and limits.

    Args:
        parent: its socket.
        command: a script and its arguments.

    Returns:
        whether there is such a process.
    """
    os.umask(umask := os.umask(0))
    limits = umask, os.nice(0), resource.getrlimit(resource.RLIMIT_NOFILE)
    wish = {"command": list(command), "environment": dict(os.environ), "folder": str(Path.cwd()), "limits": limits}
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(parent)
            socket.send_fds(asked, [_YES], _STANDARD)
            asked.sendall(json.dumps(wish).encode())
            asked.shutdown(socket.SHUT_WR)
            return asked.recv(1) == _YES
    except OSError:
        return False


class _Parent:
    """Forks for whoever asks. It imports what is shared when it is first asked, in that one's environment."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._environment: dict[str, str] = {}

    def serve(self) -> dict[str, Any] | None:
        """Until the standard input ends; in a fork, what that is to become.

        Raises:
            SystemExit: forks would not be what processes of their own are.
        """
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for forks
        while sys.stdin not in select.select([self._listener, sys.stdin], [], [])[0]:
            with suppress(OSError, ValueError):
                if (wish := self._forked()) is not None:
                    return wish
        return None

    def _forked(self) -> dict[str, Any] | None:
        asking, _ = self._listener.accept()
        with ExitStack() as held:
            held.enter_context(asking)
            asking.settimeout(_ASK_SECONDS)
            _, files, _, _ = socket.recv_fds(asking, 1, len(_STANDARD))
            for file in files:
                held.callback(os.close, file)
            wish: dict[str, Any] = json.loads(b"".join(iter(lambda: asking.recv(1 << 16), b"")))
            if not self._fits(wish["environment"]) or os.fork():
                return None
            try:
                self._listener.close()
                asking.sendall(_YES)
                for number, file in zip(_STANDARD, files, strict=True):
                    os.dup2(file, number)
            except OSError:  # who asked is gone, and nobody waits for this process
                os._exit(1)
            return wish

    def _fits(self, environment: dict[str, str]) -> bool:
        """Whether a process with this environment would have imported the same."""
        given = {name: value for name, value in environment.items() if name not in _OF_SHELLS}
        if not self._environment:
            if _at_start(given) != _at_start(dict(os.environ)):
                return False
            _import(environment)
            self._environment = given
            if len([*Path("/proc/self/task").iterdir()]) > 1 or _alike():
                raise SystemExit(0)
        return given == self._environment


def _at_start(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


def _import(environment: dict[str, str]) -> None:
    os.environ.clear()
    # OpenBLAS starts threads when it is imported, and a fork has none of them.
    os.environ.update(environment | {"OPENBLAS_NUM_THREADS": "1"})
    import_module("serve.deployments.lean").without_pandas()  # which has such threads, too
    actor: Any = import_module("ray.actor")
    # Each class of actors draws an id when it is imported. Once Ray has drawn one, every fork goes on with the same:
    # also for objects, so that one would find what another has put in the place of its own.
    ids, actor.ActorClassID = actor.ActorClassID, SimpleNamespace(from_random=lambda: ids(os.urandom(ids.size())))
    for name in _SHARED:
        import_module(name)
    actor.ActorClassID = ids
    # Titles are written over arguments and environment, as they are the first time.
    import_module("ray._raylet").setproctitle("mome: parent of the endpoint's processes")
    gc.collect()
    gc.freeze()  # a collection would write to every object, and so copy it


def _alike() -> bool:
    """Whether two forks draw the same numbers."""
    drawn = []
    for _ in range(2):
        reader, writer = os.pipe()
        if not os.fork():
            try:
                os.write(writer, import_module("ray").ObjectID.from_random().binary())
            finally:
                os._exit(0)
        os.close(writer)
        drawn.append(os.read(reader, 64))
        os.close(reader)
    return not drawn[0] or drawn[0] == drawn[1]


def _become(wish: dict[str, Any]) -> None:
    """Run what was wished for."""
    os.setsid()  # as one that is started by Ray, and no signal to a group of processes ends all of them
    for name, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGCHLD, signal.SIG_DFL)):
        signal.signal(name, handler)
    umask, niceness, files = wish["limits"]
    os.umask(umask)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
    with suppress(OSError):
        os.nice(niceness - os.nice(0))
    os.environ.clear()
    os.environ.update(wish["environment"])
    os.chdir(wish["folder"])
    import_module("numpy").random.seed()
    sys.argv = wish["command"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        if not ask(sys.argv[1], sys.argv[2:]):
            os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
    elif (wished := _Parent(socket.socket(fileno=int(sys.argv[1]))).serve()) is not None:
        _become(wished)
