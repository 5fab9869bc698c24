"""The bench of what our stack costs: what is measured of a command, what rows say, and a tiny run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks._overhead_figures import TO_STEP, WALL, Ended, ended
from benchmarks._overhead_meter import WHOLE, Mark, measure
from benchmarks._overhead_metrics import row_seconds
from benchmarks.overhead import Overhead
from orchestrator.errors import PluginError, ResourceError
from orchestrator.plugins import create

ROOT = Path(__file__).parents[2]
BUSY = """
import subprocess, sys, time
from benchmarks._overhead_job import mark
mark(sys.argv[1], 0, "call")
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 1: pass"])
mark(sys.argv[1], 0, "stage", [1.5])
time.sleep(0.5)
"""


def command(text: str, marks: Path) -> list[Mark]:
    return measure([sys.executable, "-c", text, str(marks)], {**os.environ, "PYTHONPATH": str(ROOT)}, marks)


def test_processes_that_have_ended_count_in_the_time_of_a_command(tmp_path: Path) -> None:
    marks = command(BUSY, tmp_path / "marks")
    assert [(mark.number, mark.name) for mark in marks] == [(WHOLE, "begin"), (0, "call"), (0, "stage"), (WHOLE, "end")]
    call, stage = marks[1:3]
    assert stage.values == (1.5,)
    assert stage.time - call.time > 0.9
    assert stage.cpu - call.cpu > 0.2  # up to its last look at it
    assert (call.processes, stage.processes) in ((1, 1), (2, 1))
    assert marks[-1].cpu >= stage.cpu


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"failed with code 1[\s\S]*ModuleNotFoundError: .*nothing_like_it"):
        command("import nothing_like_it", tmp_path / "marks")
    assert not (tmp_path / "marks").exists()


@pytest.fixture
def _invented(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.5}\n')

    def run(_: Overhead, root: Path, checkout: str, workers: int, trainings: int) -> Ended:
        assert (root / "overhead_job.py").is_file()
        slow = 1.0 if checkout == str(ROOT) else 4.0
        marks, time = [Mark(WHOLE, "begin", 10.0, 0.0, 1, 1)], 10.0
        for number in range(max(1, trainings)):
            first = slow * (4.0 if not trainings else 5.0 if number == 0 else 1.0)
            points = {"call": 0.0, "stage": first / 2, "first": first, "last": first + 0.2, "end": first + 0.3}
            if not trainings:
                del points["call"], points["end"]
            for name, seconds in points.items():
                values = (0.1 * workers, 0.1 * workers) if name == "last" else ()
                marks.append(Mark(number, name, time + seconds, time + seconds - 10, 2, 5_000_000, values))
            time = marks[-1].time
        marks.append(Mark(WHOLE, "end", time + 0.1, time - 10, 0, 0))
        return ended(marks, [tmp_path / "metrics.jsonl"] * max(1, trainings))

    monkeypatch.setattr(Overhead, "_run", run)
    monkeypatch.setattr("benchmarks.overhead.write_inputs", lambda *_: None)


@pytest.mark.usefixtures("_invented")
def test_rows_say_parts_totals_losses_and_goals(tmp_path: Path) -> None:
    older = tmp_path / "older"
    (older / "orchestrator").mkdir(parents=True)
    (older / "orchestrator" / "__init__.py").touch()
    options = {"against": str(older), "trainings": 3, "bare": 1, "repeats": 2}
    rows = {(row.case, row.metric): row for row in create("benchmarks", "overhead", options).rows()}
    assert (rows[f"one worker, first of a session: {TO_STEP}, beside torchrun", WALL].ratio) == pytest.approx(5 / 4)
    assert (rows[f"one worker, later: {TO_STEP}, beside torchrun", WALL].ratio) == pytest.approx(1 / 4)
    assert (rows[f"2 workers, later: {TO_STEP}, beside torchrun", "CPU time"].ratio) == pytest.approx(1 / 4)
    assert rows["one worker, later: what a training adds, beside torchrun", "processes"].ours == 0
    whole = "3 trainings, one after the other, the session's start and end included"
    assert rows[f"{whole}, beside torchrun", WALL].ours == pytest.approx(7 + 0.9 + 0.1)
    assert rows[f"{whole}, beside torchrun", WALL].baseline == pytest.approx(3 * 4.3)
    assert rows[f"{whole}, beside the older build", WALL].baseline == pytest.approx(28 + 0.9 + 0.1)
    assert rows[f"one worker, later, beside the goal: {TO_STEP}", WALL].ratio == pytest.approx(1 / 2)
    assert rows["one worker, beside the goal: one optimizer step", "ours / torchrun's"].ours == 1
    assert rows["2 workers: losses other than torchrun's", "optimizer steps"].ours == 0
    assert rows["2 workers: losses other than torchrun's", "optimizer steps"].baseline == 2 * 2 * 2


def test_a_row_of_metrics_takes_microseconds() -> None:
    assert 0 < sorted(row_seconds(50))[25] < 0.005


def test_sizes_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="option 'steps'"):
        create("benchmarks", "overhead", {"steps": 1})
    with pytest.raises(ResourceError, match="no checkout"):
        next(Overhead(against=str(tmp_path)).rows())


@pytest.mark.slow
@pytest.mark.ray
def test_a_tiny_run_has_the_losses_of_torchrun() -> None:
    sizes = ("vocab=64", "context=8", "layers=1", "width=8", "heads=2", "batch=2", "steps=3", "trainings=2", "bare=1")
    command = [sys.executable, "-m", "orchestrator.cli.main", "bench", "overhead", "two=false", "repeats=1", *sizes]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "220"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    line = next(line for line in ended.stdout.splitlines() if "losses other than torchrun's" in line)
    assert "0.000" in line
