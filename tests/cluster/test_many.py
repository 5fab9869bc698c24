"""Many trainings at once on a cluster of many nodes: all begin, and those who direct them take little of the head."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from nodes import nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
HERE, ROOT = Path(__file__).parent, Path(__file__).resolve().parents[2]
NODES, TRAININGS = 16, 24
RUN = f"""
import json, sys, time
from contextlib import closing
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
import cluster_stages
from steps import run_together
from orchestrator.cluster.runner import RayRunner
from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig

resources = ResourcesConfig.model_validate({{"slots": {TRAININGS}, "threads": 1, "strategy": "single"}})
with session(resources), closing(RayRunner(resources)) as runner:
    assert runner.allocation.gpus_per_worker > 0
    began = time.monotonic()
    stage = cluster_stages.Sleep(seconds=600, together={TRAININGS})
    found = run_together(runner, Path(sys.argv[1]), {TRAININGS}, stage)
    print(json.dumps({{"seconds": time.monotonic() - began, "pids": [each["pid"] for each in found]}}))
"""


def test_24_trainings_begin_on_16_nodes_of_fake_gpus(tmp_path: Path) -> None:
    shape = {"num_cpus": 2, "num_gpus": 2}
    paths = {"PYTHONPATH": f"{HERE}:{ROOT}"}
    with nodes([{"num_cpus": 0}, *[shape] * NODES], variables=paths) as cluster:
        command = [sys.executable, "-c", RUN, str(tmp_path)]
        told = tmp_path / "told.txt"
        with told.open("w") as out, subprocess.Popen(command, env=cluster.environment, stdout=out) as work:
            peak = 0
            while work.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    work.wait(2)
                peak = max(peak, memory(cluster.process.pid, "ray::TrainController"))
    assert work.returncode == 0
    found = json.loads(told.read_text().splitlines()[-1])
    print(f"all at work after {found['seconds']:.0f} s; {peak / TRAININGS / 1e6:.0f} MB a training's controller")
    assert len(set(found["pids"])) == TRAININGS
    assert peak / TRAININGS < 1e9


def memory(pid: int, title: str) -> int:
    """Unshared memory of processes of that title below one, in bytes."""
    total = 0
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(title):
                total += process.memory_full_info().uss
    return total
