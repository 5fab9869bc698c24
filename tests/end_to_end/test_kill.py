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
# Checkpoints often, so that kills find a training between two of them.
RECIPE = ["jobs/recipes/smoke.yaml", "teacher.training.checkpoint_every=5", "experts.training.checkpoint_every=5"]


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

    chance, found_training = random.Random(0), 0
    for kill in range(KILLS):
        process = start(killed, *options)
        # Later kills come later in an attempt, so that the run as a whole moves on between them.
        time.sleep(chance.uniform(0.1, 0.4) * seconds * (1 + kill / KILLS))
        ended = process.poll()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert ended in (None, 0), (killed / "log.txt").read_text()[-3000:]
        assert ended is None or kill > KILLS // 2, "the run ended before it was killed often enough"
        found_training += bool(list(killed.glob("smoke/work/*/checkpoints/step-*")))
        time.sleep(2)  # what the killed process had started ends by itself
    assert start(killed, *options).wait() == 0, (killed / "log.txt").read_text()[-3000:]
    assert found_training >= 3, "too few kills found a training between checkpoints"
    assert weights(killed) == weights(calm)
