"""Whether a node sees what the others write: runs are kept on storage that all of them share."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from orchestrator.errors import ResourceError

_PATIENCE = 3.0
"""Seconds that a folder made on another node may take to be seen."""


def check_shared(folder: Path, patience: float = _PATIENCE) -> None:
    """Called on the node that is to write to a folder of the run.

    Raises:
        ResourceError: it does not see the folder, or may not write to it.
    """
    end = time.monotonic() + patience
    while not folder.is_dir():
        if time.monotonic() > end:
            what = f"the run's folder is not there on node {os.uname().nodename}"
            raise ResourceError(what, str(folder), "put it on storage that all nodes share: --runs /FOLDER")
        time.sleep(0.1)
    if not os.access(folder, os.W_OK):
        what = f"the run's folder can't be written to on node {os.uname().nodename}"
        raise ResourceError(what, str(folder), "let the user that Ray runs as write to it")


def clear(folder: Path) -> None:
    """Remove what a killed attempt at a step wrote."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
