"""Wall time, CPU time, processes and memory of a command and all below it, at the moments that it marks."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._overhead_job import mark
from benchmarks._processes import Tree
from orchestrator.errors import ResourceError

_LOOK_SECONDS = 0.25
"""Between two looks at the processes: what a process does after the last look before its end is not counted."""
WHOLE = -1
"""Number of the marks "begin" and "end" of the command itself."""


@dataclass(frozen=True)
class Mark:
    """How far a command is.

    Attributes:
        number: of the training, or `WHOLE`.
        name: of the point.
        time: seconds of the system's clock.
        cpu: CPU seconds until then, of the command and all below it, those included that have ended.
        processes, bytes: how many there are, and their resident memory; pages that they share count in each.
        values: that the training gave.
    """

    number: int
    name: str
    time: float
    cpu: float
    processes: int
    bytes: int
    values: tuple[float, ...] = ()


def measure(command: Sequence[str], environment: Mapping[str, str], marks: Path) -> list[Mark]:
    """Run a command, in the folder of the named pipe `marks`, which is made here and which it writes marks to.

    Raises:
        ResourceError: the command failed.
    """
    os.mkfifo(marks)
    pipe = os.open(marks, os.O_RDWR | os.O_NONBLOCK)
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            mark(str(marks), WHOLE, "begin")
            process = subprocess.Popen(command, env=dict(environment), cwd=marks.parent, stdout=said, stderr=said)

            def wait() -> None:
                process.wait()
                mark(str(marks), WHOLE, "end")

            threading.Thread(target=wait, daemon=True).start()
            found = _follow(pipe, Tree(process.pid))
            if process.returncode:
                said.seek(0)
                what = f"a contender failed with code {process.returncode}: {said.read().strip()[-2000:]}"
                raise ResourceError(what, "bench overhead")
            return found
    finally:
        os.close(pipe)
        marks.unlink()


def _follow(pipe: int, tree: Tree) -> list[Mark]:
    """The marks up to the end of the command."""
    found, text = list[Mark](), b""
    while not (found and (found[-1].number, found[-1].name) == (WHOLE, "end")):
        if select.select([pipe], [], [], _LOOK_SECONDS)[0]:
            text += os.read(pipe, 1 << 16)
        tree.look()
        *lines, text = text.split(b"\n")
        for told in map(json.loads, lines):
            told["values"] = tuple(told["values"])
            found.append(Mark(**told, cpu=tree.cpu, processes=tree.processes, bytes=tree.bytes))
    return found
