"""A run that is listed and stopped from another terminal, and goes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.command import mome

RECIPE = """
name: tiny
corpus: {max_documents: 20, languages: {en: {source: miniwiki}}, splits: {validation: 0.15, test: 0.15}}
tokenizer: {vocab_size: 512}
blocks: {context: 32}
teacher:
  model: gpt2-nano
  training: {tokens: 1_000_000, precision: fp32, batch_tokens: 512, micro_batch: 16, checkpoint_every: 20}
experts: {model: gpt2-nano, training: {tokens: 1_000}}
tracking: {type: none}
"""
SHORT = "teacher.training.tokens=204800"


@pytest.mark.long
def test_a_run_is_listed_followed_and_stopped(tmp_path: Path) -> None:
    runs, recipe, log = tmp_path / "runs", tmp_path / "tiny.yaml", tmp_path / "log.txt"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", str(recipe), "--local", "--runs", str(runs)]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            while not list(runs.glob("tiny/work/teacher-*/checkpoints/step-*")):
                assert process.poll() is None, log.read_text()[-3000:]
                time.sleep(0.1)
            state = json.loads(mome("ps", "--json", runs=runs).stdout)
            assert (state["state"], state["holder"]["pid"]) == ("running", process.pid)
            assert state["holder"]["host"] == os.uname().nodename
            assert state["holder"]["command"][-6:] == command[-6:]
            (at_work,) = state["at_work"]
            assert (at_work["name"], at_work["optimizer_step"] >= 18) == ("teacher", True)
            assert "teacher: 9/1954 loss" in mome("logs", "tiny", "teacher", runs=runs).stdout
            assert "tiny: left alone, at work" in mome("gc", "--yes", runs=runs).stdout
            stopped = mome("stop", "tiny", runs=runs)
            assert (stopped.returncode, "stopped: tiny" in stopped.stdout) == (0, True), stopped.text
            assert process.wait(10) == 130
        finally:
            process.kill()
    assert "interrupted; a run goes on from here" in log.read_text()
    assert json.loads(mome("ps", "--json", runs=runs).stdout)["state"] == "unfinished"
    assert mome("stop", "tiny", runs=runs).returncode == 2
    ended = mome("run", recipe, "--local", "--until", "teacher", "teacher.training.tokens=1000", runs=runs)
    assert ended.returncode == 0, ended.text
    assert "finished" in mome("ps", runs=runs).stdout
    freed = mome("gc", "--checkpoints", "--yes", runs=runs).stdout
    assert "tiny: work/teacher-" in freed
    assert not list(runs.glob("tiny/work/*/checkpoints"))


@pytest.mark.long
@pytest.mark.ray
def test_a_run_on_ray_is_stopped_goes_on_and_nothing_is_called_a_failure(tmp_path: Path) -> None:
    runs, recipe, log = tmp_path / "runs", tmp_path / "tiny.yaml", tmp_path / "log.txt"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", str(recipe), SHORT, "--runs", str(runs)]
    clean = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=clean) as process:
        try:
            while not list(runs.glob("tiny/work/teacher-*/checkpoints/step-*")):
                assert process.poll() is None, log.read_text()[-3000:]
                time.sleep(0.1)
            stopped = mome("stop", "tiny", runs=runs)
            assert "stopped: tiny" in stopped.stdout, stopped.text
            assert process.wait(60) == 130
        finally:
            process.kill()
    told = log.read_text()
    assert told.endswith("mome: interrupted; a run goes on from here with the same command\n")
    assert not [word for word in ("Traceback", "restart") if word in told]
    assert json.loads(mome("ps", "--json", runs=runs).stdout)["state"] == "unfinished"
    assert not (runs / "tiny" / "errors").exists()
    going = mome("run", recipe, SHORT, "--local", "resources.cpus=1", "--until", "teacher", runs=runs)
    assert going.returncode == 0, going.text
    shown = [int(step) for step in re.findall(r"teacher: (\d+)/400", going.stdout)]
    assert min(shown) > 20  # it goes on from a checkpoint
