"""A plan asks the cluster that RAY_ADDRESS names for its nodes, and changes nothing there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import started

from orchestrator.cluster.shapes import ask, check_schema
from orchestrator.config.cluster_file import read_cluster
from orchestrator.errors import ResourceError

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
JOBS = "import os; from ray._raylet import GcsClient as G; print(len(G(os.environ['RAY_ADDRESS']).get_all_job_info()))"
NODES = [{"num_cpus": 0}, {"num_cpus": 48, "num_gpus": 4}, {"num_cpus": 48, "num_gpus": 4}]


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    with started(NODES) as environment:
        yield environment


def mome(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_plan_is_for_the_cluster_and_leaves_no_job_there(cluster: dict[str, str], tmp_path: Path) -> None:
    began = time.monotonic()
    done = mome(cluster, "smoke", "--plan", "--runs", str(tmp_path))
    assert time.monotonic() - began < 20  # ten, on a machine with nothing else to do
    assert done.returncode == 0, done.stderr
    assert "on 2 nodes: 2 x (48 CPUs, 4 GPUs)" in done.stdout
    assert "4 trainings at a time on the cuda of the cluster" in done.stdout
    jobs = subprocess.run([sys.executable, "-c", JOBS], env=cluster, capture_output=True, text=True, check=True)
    assert jobs.stdout.split() == ["0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("resources.workers=9", "9 training workers on GPUs asked for, and the cluster has 8 GPUs"),
        ("resources.threads=64", "64 threads a training worker, and the largest node has 48 CPUs"),
    ],
)
def test_what_can_never_fit_is_refused_at_once(cluster: dict[str, str], tmp_path: Path, change: str, said: str) -> None:
    done = mome(cluster, "smoke", change, "--plan", "--runs", str(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert "2 x (48 CPUs, 4 GPUs)" in done.stderr


def test_another_token_is_refused(cluster: dict[str, str], tmp_path: Path) -> None:
    done = mome({**cluster, "RAY_AUTH_TOKEN": "0" * 64}, "smoke", "--plan", "--runs", str(tmp_path))
    assert done.returncode == 2
    assert "this shell has no token for the cluster, or another one than the cluster" in done.stderr
    assert "RAY_AUTH_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:9", "auto", "ray://127.0.0.1:10001", "nowhere.invalid:6379"])
def test_nobody_at_the_address(address: str) -> None:
    with pytest.raises(ResourceError) as refused:
        ask(address)
    assert refused.value.where == f"RAY_ADDRESS={address}"
    assert "--local" in refused.value.fix
    assert "--cluster FILE" in refused.value.fix


def test_ray_s_own_schema_refuses_a_cluster_file(tmp_path: Path) -> None:
    good = read_cluster(ROOT / "cluster.yaml")
    assert good.document is not None
    check_schema(good.document, good.file)
    bad = json.loads(json.dumps(good.document))
    bad["available_node_types"]["gpu"]["min_workers"] = "many"
    with pytest.raises(ResourceError, match="Ray refuses") as refused:
        check_schema(bad, tmp_path)
    assert refused.value.where.endswith("available_node_types.gpu.min_workers")
