"""A node that a cloud is about to take away: its training writes a checkpoint at once, and goes on elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import nodes
from steps import wait_for_step

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
DRAIN = """
import os, sys, time
from ray._raylet import GcsClient
gcs = GcsClient(address=os.environ["RAY_ADDRESS"])
held = {}
for node, facts in gcs.get_all_node_info().items():
    held[node.hex()] = facts.resources_total.get("CPU", 0)
from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig
import ray
with session(ResourcesConfig()):
    print("connected", flush=True)
    sys.stdin.readline()
    free = ray._private.state.available_resources_per_node()
    busy = [node for node, cpus in held.items() if cpus and free[node].get("CPU", 0) < cpus]
    deadline = int((time.time() + 30) * 1000)
    print([gcs.drain_node(node, 2, "taken away", deadline) for node in busy[:1]])
"""
SMALL = (
    *("corpus.max_documents=25", "tokenizer.vocab_size=512", "teacher.training.tokens=1000000"),
    *("teacher.training.checkpoint_every=100000", "tracking.type=none", "resources.max_failures=0"),
)


def test_its_training_writes_a_checkpoint_and_goes_on_at_another_node(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", "jobs/recipes/smoke.yaml", *SMALL]
    command += ["resources.slots=2", "--until", "teacher", "--runs", str(tmp_path)]
    with (
        nodes([{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}]) as cluster,
        subprocess.Popen(
            command, cwd=ROOT, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as work,
        subprocess.Popen(
            [sys.executable, "-c", DRAIN],
            cwd=ROOT, env=cluster.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as cloud,
    ):  # fmt: skip
        assert cloud.stdout is not None
        assert cloud.stdout.readline() == "connected\n"  # so that it takes the node away at once
        wait_for_step(tmp_path, 20, work)
        cloud.communicate("\n", timeout=60)
        assert cloud.returncode == 0
        told = work.communicate(timeout=200)[0]
    assert work.returncode == 0, told[-3000:]
    notice = "a node of the cluster is taken away; with what is left it goes on from the last checkpoint"
    before, _, after = told.partition(notice)
    assert after, before[-3000:]
    assert int(re.findall(r"teacher: (\d+)/", after)[0]) > 20  # the only checkpoint is that of the notice
    assert not re.search("Traceback", told)
