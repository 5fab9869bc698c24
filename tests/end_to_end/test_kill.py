"""Killed at random moments, a run ends with the weights of an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
# Trainings long enough to be killed in, with checkpoints often enough to go on from.
TRAINING = ("tokens=150000", "checkpoint_every=5")
RECIPE = [
    "jobs/recipes/smoke.yaml",
    *(f"{who}.training.{field}" for who in ("teacher", "experts") for field in TRAINING),
]


def start(runs, *options):
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", *RECIPE, *options, "--runs", str(runs)]
    log = (runs / "log.txt").open("a")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)


def weights(runs):
    steps = json.loads((runs / "smoke" / "artifacts.json").read_text())["steps"]
    return {
        name: json.loads((runs / "smoke" / folder / "training.json").read_text())["weights_sha256"]
        for name, folder in steps.items()
        if name == "teacher" or name.startswith("expert-")
    }


def wait_for(process, happened):
    """Until something has happened in an attempt, or it has ended."""
    while process.poll() is None and not happened():
        time.sleep(0.05)


def checkpoints(runs):
    return set(runs.glob("smoke/work/*/checkpoints/step-*"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("options", [["--local", "tracking.type=none"], []], ids=["local", "ray"])
def test_weights_after_ten_kills_are_those_of_an_undisturbed_run(tmp_path, options):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    begin = time.monotonic()
    assert start(calm, *options).wait() == 0, (calm / "log.txt").read_text()[-3000:]
    seconds = time.monotonic() - begin

    chance, found_training, log = random.Random(0), 0, killed / "log.txt"
    for kill in range(KILLS):
        before = log.stat().st_size if log.exists() else 0
        process = start(killed, *options)
        if kill % 2 == 0:  # in a training, after a checkpoint of this attempt
            known = checkpoints(killed)
            wait_for(process, lambda known=known: checkpoints(killed) - known)
            time.sleep(chance.uniform(0, 0.5))
        else:  # anywhere else: while it starts, while data is made, while workers start
            if kill % 4 == 1:
                wait_for(process, lambda before=before: b": started" in log.read_bytes()[before:])
            time.sleep(chance.uniform(0, seconds / 8))
        ended = process.poll()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert ended is None, f"ended before kill {kill}: " + log.read_text()[-3000:]
        found_training += bool(checkpoints(killed))
        time.sleep(2)  # what the killed process had started ends by itself
    assert start(killed, *options).wait() == 0, log.read_text()[-3000:]
    assert found_training >= 3, "too few kills found a training between checkpoints"
    assert weights(killed) == weights(calm)
