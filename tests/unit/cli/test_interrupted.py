"""Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def test_an_interrupted_command_says_that_it_can_go_on(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    os.mkfifo(recipe)
    program = "from orchestrator.cli.main import main; main()"
    begun = [sys.executable, "-c", program, "run", str(recipe)]
    # The recipe opens here once the command opens it there, and waits for what it says.
    with subprocess.Popen(begun, stderr=subprocess.PIPE, text=True) as command, recipe.open("w"):
        command.send_signal(signal.SIGINT)
        _, printed = command.communicate(timeout=60)
    assert command.returncode == 130
    assert printed == "mome: interrupted; a run goes on from here with the same command\n"
