"""Compiling a torch extension once on a machine, whoever is killed while doing so."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def find_ninja() -> None:
    """Let torch find the ninja beside this Python first: `.venv/bin/mome` may be called by its path.

    The system may have one of another version. Each takes what the other has built for changed, and builds it again, a
    minute for which the workers of all trainings wait.
    """
    beside = str(Path(sys.executable).parent)
    if shutil.which("ninja", path=beside) not in (None, shutil.which("ninja")):
        os.environ["PATH"] = os.pathsep.join(filter(None, (beside, os.environ.get("PATH"))))


@contextmanager
def sole_builder(name: str) -> Iterator[bool]:
    """Hold the build of torch extension `name`; gives whether it was built before.

    torch guards builds, and every load, by the existence of a file: a process killed then leaves it, and all others
    wait for ever. The lock held here dies with its process, so a file found under it is a dead one's and is removed.
    """
    from torch.utils import cpp_extension

    folder = Path(cpp_extension._get_build_directory(name, verbose=False))  # type: ignore[no-untyped-call]
    with (folder / "builder.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (folder / "lock").unlink(missing_ok=True)
        yield (folder / f"{name}.so").exists()
