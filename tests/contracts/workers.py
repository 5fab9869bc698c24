"""Processes of a training's workers, forked from one that has imported torch, transformers and DeepSpeed for all."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.contracts.imported"])


def start(script: Path, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> BaseProcess:
    """Run a script with arguments in a process of its own; what it prints goes to a file."""
    process = _FORKS.Process(target=_work, args=(script, arguments, environment, output))
    process.start()
    return process


def _work(script: Path, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    warnings.simplefilter("ignore")
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
