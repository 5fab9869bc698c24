"""Processes of one machine's endpoint as forks of one that has imported what all of them need. Imports nothing of ours.

What a process has imported takes most of its memory, and most of the time until it is there. Forks share it. Ray starts
this file, with the worker's command behind it, in the place of Python (`py_executable` of a runtime environment). That
asks the parent for a fork that becomes the worker, and ends. Where no parent answers, it becomes the worker itself, as
it would be without this.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

_SHARED = ("ray._private.workers.default_worker", "ray.serve._private.replica", "ray.serve._private.controller",
           "serve.expert", "serve.ingress", "serve.deployments.keeper", "serve.engine")  # fmt: skip
_READ_ONCE = ("RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_AUTH_TOKEN")
"""What Ray reads with its import, and never again."""
_STANDARD = (0, 1, 2)
_YES = b"+"
_REAP_SECONDS = 1.0


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
            yield f"{sys.executable} -I -S {Path(__file__).resolve()} {folder}/parent"
        finally:
            parent.kill()
            parent.communicate()


def ask(parent: str, command: Sequence[str]) -> bool:
    """Have a process forked that becomes a Python command with this one's files, environment and folder.

    Args:
        parent: its socket.
        command: a script and its arguments.

    Returns:
        whether there is such a process.
    """
    wish = json.dumps({"command": list(command), "environment": dict(os.environ), "folder": str(Path.cwd())})
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(parent)
            socket.send_fds(asked, [_YES], _STANDARD)
            asked.sendall(wish.encode())
            asked.shutdown(socket.SHUT_WR)
            return asked.recv(1) == _YES
    except OSError:
        return False


class _Parent:
    """Forks for whoever asks. It imports what is shared when it is first asked, in that one's environment."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._read: dict[str, str | None] = {}

    def serve(self) -> None:
        """Until the standard input ends."""
        while sys.stdin not in (ready := select.select([self._listener, sys.stdin], [], [], _REAP_SECONDS)[0]):
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if ready:
                with suppress(OSError, ValueError):
                    self._fork()

    def _fork(self) -> None:
        asking, _ = self._listener.accept()
        with asking:
            _, files, _, _ = socket.recv_fds(asking, 1, len(_STANDARD))
            wish = json.loads(b"".join(iter(lambda: asking.recv(1 << 16), b"")))
            read = {name: wish["environment"].get(name) for name in _READ_ONCE}
            if not self._read:
                self._import(wish["environment"])
                self._read = read
            if read == self._read and not os.fork():
                self._listener.close()
                asking.sendall(_YES)
                asking.close()
                _become(wish, files)
        for file in files:
            os.close(file)

    @staticmethod
    def _import(environment: dict[str, str]) -> None:
        # OpenBLAS starts threads when it is imported, and a fork has none of them.
        os.environ |= {**environment, "OPENBLAS_NUM_THREADS": "1"}
        for name in _SHARED:
            import_module(name)
        # Titles are written over arguments and environment, as they are the first time.
        import_module("ray._raylet").setproctitle("mome: parent of the endpoint's processes")
        gc.collect()
        gc.freeze()  # a collection would write to every object, and so copy it


def _become(wish: dict[str, Any], files: Sequence[int]) -> None:
    """Run what was wished for, and end."""
    status = 1
    try:
        for number, file in zip(_STANDARD, files, strict=True):
            os.dup2(file, number)
            os.close(file)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(wish["environment"])
        os.chdir(wish["folder"])
        sys.argv = wish["command"]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _Parent(socket.socket(fileno=int(sys.argv[1]))).serve()
    elif not ask(sys.argv[1], sys.argv[2:]):
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
