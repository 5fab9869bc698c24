"""`mome ps`, `logs`, `stop` and `gc` as they are typed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import CorpusError
from orchestrator.locks import locked
from tests.unit.housekeeping.made import finish, plan, work


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a finished run, one that has failed, and a damaged one."""
    runs = tmp_path / "all"
    finish(runs / "done", "teacher", text="old")
    finish(runs / "done", "teacher", text="new")
    plan(runs / "lost", "corpus", "teacher").failed("corpus", CorpusError("no text", "here"))
    finish(runs / "odd", "corpus")
    (runs / "odd" / "artifacts.json").write_text("{")
    return runs


def test_ps(mome: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = mome("ps", "--runs", here)
    assert (ended.code, ended.err) == (0, "")
    said = " ".join(ended.out.split())
    assert "done finished 1/1" in said
    assert "lost failed: corpus: no text 0/2" in said
    assert "damaged:" in said
    ended = mome("ps", "--json", "--runs", here)
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [(row["name"], row["state"]) for row in rows] == [
        ("done", "finished"),
        ("lost", "failed"),
        ("odd", "damaged"),
    ]
    assert rows[0]["bytes"] > 0
    assert mome("ls", "--json", "--runs", here).out == ended.out


def test_ps_of_a_folder_without_runs(mome: Any, tmp_path: Path) -> None:
    assert "there are no runs in" in mome("ps", "--runs", tmp_path).out
    assert mome("ps", "--runs", tmp_path / "none").code == 2
    assert mome("gc", "--runs", tmp_path / "none").code == 2


def test_logs(mome: Any, here: Path) -> None:
    ended = mome("logs", "done", "teacher", "--runs", here)
    assert (ended.code, ended.out.splitlines()[:2]) == (0, ["teacher: 2/2 loss 1.500", "teacher: all read"])
    assert mome("logs", "done", "teacher", "-f", "--runs", here).out == ended.out
    assert "steps: teacher" in mome("logs", "done", "expert", "--runs", here).err
    ended = mome("logs", "done", "--runs", here)
    assert (ended.code, "no step is at work" in ended.err) == (2, True)
    ended = mome("logs", "odd", "--runs", here)
    assert (ended.code, "Traceback" in ended.err) == (2, False)


def test_logs_of_a_run_at_work(mome: Any, here: Path) -> None:
    plan(here / "begun", "corpus")
    with locked(here / "begun"):
        ended = mome("logs", "begun", "--runs", here)
        assert (ended.code, ended.out) == (0, "")
        assert "begun is at work and has written nothing yet" in ended.err
        begun = [sys.executable, "-m", "orchestrator.cli.main", "logs", "begun", "-f", "--runs", str(here)]
        with subprocess.Popen(begun, stderr=subprocess.PIPE, text=True) as command:
            time.sleep(3)
            while command.poll() is None:  # on a busy machine it may not have begun to follow
                command.send_signal(signal.SIGINT)
                time.sleep(1)
            assert command.stderr is not None
            printed = command.stderr.read()
    assert (command.returncode, printed) == (0, "mome: not followed any more; begun goes on\n")


def test_stop_where_nothing_runs(mome: Any, here: Path) -> None:
    for name, said in (("done", "no process is at work"), ("odd", "no process is at work"), ("none", "no run 'none'")):
        ended = mome("stop", name, "--runs", here)
        assert (ended.code, said in ended.err) == (2, True)


def test_gc(mome: Any, here: Path) -> None:
    (old,) = (f for f in here.glob("done/stages/teacher/*") if f.name not in (here / "done/artifacts.json").read_text())
    with locked(here / "done"):
        said = mome("gc", "--yes", "--runs", here).out
    assert "done: left alone, at work: process" in said
    assert "odd: left alone, which steps are done can't be read" in said
    said = mome("gc", "--runs", here).out
    assert f"done: stages/teacher/{old.name}: " in said
    assert ", may be deleted (frees " in said
    assert ", kept, referred to by artifacts.json" in said
    assert "would free: " in said.splitlines()[-1]
    assert old.exists()
    left = work(here / "done", "expert-en")
    said = mome("gc", "done", "--yes", "--runs", here).out
    assert ", deleted (frees " in said
    assert "kept, --checkpoints includes it" in said
    assert "freed: " in said.splitlines()[-1]
    assert (old.exists(), left.exists()) == (False, True)
    assert mome("gc", "done", "--runs", here).out.splitlines()[-1] == "would free: 0 B"
    mome("gc", "done", "--checkpoints", "--yes", "--runs", here)
    assert not left.exists()
