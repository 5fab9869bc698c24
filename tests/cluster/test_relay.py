"""The actor between a driver and workers without a shared disk outlives the nodes of the workers, and its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nodes import nodes

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
import ray
from orchestrator.cluster.session import session
from orchestrator.cluster.storage import relay
from orchestrator.config.recipe import ResourcesConfig
with session(ResourcesConfig()):
    relays = [relay() for _ in range(6)]
    ray.get([each.tell.remote("place", "row") for each in relays])
    input(print("ready", flush=True) or "")
    print([ray.get(each.take.remote("place"))[0] for each in relays])
    ray.kill(relays[0], no_restart=False)
    print(ray.get(relays[0].is_stopped.remote("place")))
"""


def test_rows_outlive_the_nodes_of_workers() -> None:
    with nodes([{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}]) as cluster:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-c", DRIVER], cwd=ROOT, env=cluster.environment, stdin=pipe, stdout=pipe, text=True
        ) as driver:
            assert driver.stdout is not None
            assert "ready" in driver.stdout.readline()
            for _ in range(2):
                cluster.replace(1)
            told = driver.communicate("\n", timeout=120)[0].splitlines()
    assert {str([["row"]] * 6), "False"} <= {*told}  # among what Ray says of nodes that are gone
