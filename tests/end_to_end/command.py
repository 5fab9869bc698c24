"""`mome` as it is typed, in this process: starting another one to import torch takes longer than most commands."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

import pytest

from orchestrator.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it printed to each of its streams and to both."""

    returncode: int
    stdout: str
    stderr: str
    text: str


class _Copied(io.StringIO):
    """A stream whose text another one is given too."""

    def __init__(self, both: io.StringIO) -> None:
        super().__init__()
        self.both = both

    def write(self, text: str) -> int:
        self.both.write(text)
        return super().write(text)


def mome(*arguments: object, runs: object) -> Ended:
    """Run a command in the folder of runs `runs`."""
    both = io.StringIO()
    out, err = _Copied(both), _Copied(both)
    command = ["mome", *map(str, arguments), "--runs", str(runs)]
    with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err):  # noqa: SIM117
        with pytest.raises(SystemExit) as ended:
            main()
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue(), both.getvalue())
