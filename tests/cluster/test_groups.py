"""A controller that is killed before its workers begin leaves a placement group; nothing waits for what it holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from nodes import nodes

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(300)]
HERE = Path(__file__).parent
TRAIN = """
import sys, threading, time
from pathlib import Path
import cluster_stages
import psutil
from orchestrator.cluster.runner import RayRunner
from ray.util import placement_group, placement_group_table
from steps import run
from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig

def states():
    return sorted(facts["state"] for facts in placement_group_table().values() if facts["state"] != "REMOVED")

resources = ResourcesConfig(slots=1, max_failures=1)
with session(resources):
    arguments = RayRunner(resources), cluster_stages.Sleep(), Path(sys.argv[1])
    training = threading.Thread(target=run, args=arguments)
    training.start()
    ours = placement_group([{"memory": 1}])
    while states() != ["CREATED", "CREATED"]:
        time.sleep(0.01)
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith("ray::TrainController") and int(sys.argv[2]) in (
            parent.pid for parent in process.parents()
        ):
            process.kill()
            print("killed", flush=True)
    training.join()
    print("left", states(), flush=True)
"""


def test_it_is_removed_though_its_node_is_lost_as_well(tmp_path: Path) -> None:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    with nodes([{"num_cpus": 0}, {"num_cpus": 1}], variables={"PYTHONPATH": path}) as cluster:
        command = [sys.executable, "-c", TRAIN, str(tmp_path), str(cluster.process.pid)]
        with subprocess.Popen(command, cwd=HERE.parents[1], env=cluster.environment, stdout=PIPE, text=True) as work:
            assert work.stdout is not None
            try:
                assert any(line == "killed\n" for line in work.stdout)
                cluster.replace(1)
                told = work.communicate(timeout=120)[0]
            finally:
                work.kill()
    assert (tmp_path / "step" / "out" / "rank0.json").exists(), told
    assert "left ['CREATED']" in told  # that of the driver itself
    assert "raylet" not in told
