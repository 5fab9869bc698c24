"""Steps in folders of their own, one after the other or at the same time, and a look at the processes meanwhile."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from orchestrator.cluster.runner import RayRunner
from orchestrator.pipeline.graph import Step
from orchestrator.stages.base import Stage


def run(runner: RayRunner, stage: Stage, folder: Path, name: str = "step") -> Path:
    """The folder that a step wrote to."""
    out, work = folder / name / "out", folder / name / "work"
    out.mkdir(parents=True)
    work.mkdir(parents=True)
    runner.run(Step(name, stage), {}, out, work)
    return out


def facts(out: Path, rank: int = 0) -> dict[str, Any]:
    """What a stage of `cluster_stages` wrote down."""
    found: dict[str, Any] = json.loads((out / f"rank{rank}.json").read_text())
    return found


def run_together(runner: RayRunner, folder: Path, count: int, stage: Stage) -> list[dict[str, Any]]:
    """What each of so many wrote down."""
    names = [f"expert-{i}" for i in range(count)]
    threads = [threading.Thread(target=run, args=(runner, stage, folder, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [facts(folder / name / "out") for name in names]


def begun(runner: RayRunner, stage: Stage, folder: Path) -> threading.Thread:
    """The thread of a step that is at work."""
    thread = threading.Thread(target=run, args=(runner, stage, folder))
    thread.start()
    wait_until(lambda: (folder / "step" / "work" / "begun").exists())
    return thread


def processes(name: str) -> list[psutil.Process]:
    """Processes below this one of that title."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if name in " ".join(process.cmdline()):
                found.append(process)
    return found


def pids(name: str) -> set[int]:
    """Of processes below this one of that title."""
    return {process.pid for process in processes(name)}


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Fails after so many seconds."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def wait_for_step(runs: Path, step: int, work: subprocess.Popen[str]) -> None:
    """Until the teacher of a command's smoke run has written of a step."""

    def has_come() -> bool:
        assert work.poll() is None, work.communicate()[0][-3000:]
        return any(f'"step": {step},' in file.read_text() for file in runs.glob("smoke/work/teacher*/metrics.jsonl"))

    wait_until(has_come, 200)
