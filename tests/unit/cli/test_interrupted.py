"""Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


RUN = ["-c", "from orchestrator.cli.main import main; main()", "run"]
JOB = ["-m", "jobs.run"]


@pytest.mark.parametrize(
    ("program", "number"), [(RUN, signal.SIGINT), (RUN, signal.SIGTERM), (RUN, signal.SIGHUP), (JOB, signal.SIGTERM)]
)
def test_an_interrupted_command_says_that_it_can_go_on(tmp_path: Path, program: list[str], number: int) -> None:
    recipe = tmp_path / "recipe.yaml"
    os.mkfifo(recipe)
    begun = [sys.executable, *program, str(recipe)]
    # The recipe opens here once the command opens it there, and waits for what it says.
    with subprocess.Popen(begun, cwd=ROOT, stderr=subprocess.PIPE, text=True) as command, recipe.open("w"):
        command.send_signal(number)
        _, printed = command.communicate(timeout=60)
    assert command.returncode == 130
    assert printed == "mome: interrupted; a run goes on from here with the same command\n"


def test_a_closed_terminal_leaves_alone_what_nohup_has_started(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    os.mkfifo(recipe)
    begun = ["nohup", sys.executable, *RUN, str(recipe)]
    with subprocess.Popen(begun, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as command:
        with recipe.open("w") as stream:
            command.send_signal(signal.SIGHUP)
            stream.write("name: [")
        _, printed = command.communicate(timeout=60)
    assert command.returncode == 2
    assert "interrupted" not in printed


STEP = """
import threading, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from orchestrator.cli.ending import STEP_THREAD, say_interrupted

def step(ready):
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        pool.submit(time.sleep, 0).result()
        ready.set()
        list(pool.map(time.sleep, [0.2] * 2000))

if __name__ == "__main__":
    ready = threading.Event()
    threading.Thread(target=step, args=(ready,), name=STEP_THREAD + "1", daemon=True).start()
    ready.wait()
    time.sleep(0.5)
    say_interrupted()
"""


def test_worker_processes_of_a_step_are_not_waited_for(tmp_path: Path) -> None:
    """What multiprocessing runs at exit takes from idle workers the word that they may end, and then waits for them."""
    program = tmp_path / "step.py"
    program.write_text(STEP)
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130, ended.stderr
