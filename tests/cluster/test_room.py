"""Runs that share a cluster: each training waits for room, and a killed run takes nobody's along."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
from nodes import Nodes, nodes

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *("corpus.max_documents=25", "tokenizer.vocab_size=512", "tracking.type=none", "resources.slots=2"),
    *("teacher.training.tokens=30000", "experts.training.tokens=30000", "evaluation.max_blocks=4"),
)


def begun(cluster: Nodes, runs: Path, name: str, *words: str) -> subprocess.Popen[str]:
    """A run of its own name, up to its experts."""
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", "jobs/recipes/smoke.yaml", f"name={name}", *SMALL]
    command += [*words, "--until", "experts", "--runs", str(runs)]
    return subprocess.Popen(
        command, cwd=ROOT, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


HOLD = """
import sys, time
from orchestrator.cluster.room import room
from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.resources import allocate

name, workers, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
share = allocate(ResourcesConfig(workers=workers, slots=1), workers, 0)
say = lambda line: print(line, flush=True)
with session(ResourcesConfig()), room("training", name, 0, say, lambda: False) as take:
    take(share)
    say("trains")
    time.sleep(seconds) if seconds >= 0 else sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    shapes = [{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}]
    with nodes(shapes, variables={"RAY_enable_autoscaler_v2": "1"}) as cluster:  # its demands can be asked for
        yield cluster


@contextmanager
def holder(cluster: Nodes, name: str, workers: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A driver that trains nothing; below 0 seconds: until it is given a line."""
    command = [sys.executable, "-c", HOLD, name, str(workers), str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, env=cluster.environment, stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_a_gang_waits_until_all_of_it_has_room_and_is_not_passed(cluster: Nodes) -> None:
    with holder(cluster, "first", 1, -1) as first:
        assert line(first) == "trains"
        with holder(cluster, "gang", 2, 0) as gang:
            assert line(gang) == "training: waiting for room beside first"
            with holder(cluster, "small", 1, 0) as small:
                assert line(small) == "training: waiting for room beside first, gang, 1 before it"
                assert first.stdin is not None
                print(file=first.stdin, flush=True)
                assert line(gang) == "trains"
                assert line(small) == "trains"


@pytest.mark.slow
def test_what_a_killed_run_held_is_free_in_half_a_minute_and_its_list_is_kept_by_another(cluster: Nodes) -> None:
    with holder(cluster, "killed", 1, 600) as killed, holder(cluster, "going", 1, 600) as going:
        assert [line(killed), line(going)] == ["trains", "trains"]
        killed.kill()  # it may be the one whose actor knows who holds what
        time.sleep(7)  # the other one has said since what it holds
        with holder(cluster, "next", 2, 0) as last:
            assert line(last).startswith("training: waiting for room beside going")
            going.kill()
            assert line(last) == "trains"


GROUP = """
import sys
import ray
from ray.util.placement_group import placement_group
from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig

with session(ResourcesConfig()):
    ray.get(placement_group([{"CPU": 1}] * 2).ready())
    print("holds", flush=True)
    sys.stdin.read()
"""
DEMANDS = """
import json, os
from ray.autoscaler.v2.sdk import get_cluster_status
demands = get_cluster_status(os.environ["RAY_ADDRESS"]).resource_demands
kinds = demands.cluster_constraint_demand, demands.placement_group_demand
print(json.dumps([[[count.bundle, count.count] for each in kind for count in each.bundles_by_count] for kind in kinds]))
"""


def demands(cluster: Nodes) -> list[list[tuple[dict[str, float], int]]]:
    """What an autoscaler sees: what the cluster is to have room for, and placement groups that wait."""
    told = subprocess.run(
        [sys.executable, "-c", DEMANDS], cwd=ROOT, env=cluster.environment, capture_output=True, text=True, check=True
    )
    return [[(bundle, count) for bundle, count in kind] for kind in json.loads(told.stdout.splitlines()[-1])]


def until(found: Callable[[], object], wanted: object) -> None:
    end = time.monotonic() + 60
    while (last := found()) != wanted:
        assert time.monotonic() < end, last
        time.sleep(0.5)


def test_an_autoscaler_sees_what_waits_until_it_waits_no_more(cluster: Nodes) -> None:
    with holder(cluster, "first", 1, 600) as first:
        assert line(first) == "trains"
        assert demands(cluster) == [[], []]
        with holder(cluster, "gang", 2, 600) as gang:
            assert line(gang).startswith("training: waiting")
            assert demands(cluster) == [[({"CPU": 1.0}, 3)], []]
            first.kill()  # the actor may go with it: the next one says the same, and then no more
            assert line(gang) == "trains"
            until(lambda: demands(cluster), [[], []])
    until(lambda: demands(cluster), [[], []])


def test_what_waits_for_the_work_of_others_is_a_placement_group_that_waits(cluster: Nodes) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", GROUP], cwd=ROOT, env=cluster.environment, text=True, stdin=PIPE, stdout=PIPE
    )
    with other, holder(cluster, "gang", 2, 0) as gang:
        assert line(other) == "holds"
        assert "which others hold" in line(gang)
        until(lambda: demands(cluster), [[], [({"CPU": 1.0}, 2)]])
        other.kill()
        assert line(gang) == "trains"
    until(lambda: demands(cluster), [[], []])


@pytest.mark.slow
def test_they_wait_for_each_other_and_all_end_though_one_is_killed(cluster: Nodes, tmp_path: Path) -> None:
    first = begun(cluster, tmp_path, "first")
    time.sleep(3)
    others = [begun(cluster, tmp_path, "second"), begun(cluster, tmp_path, "third", "resources.priority=5")]
    wait_for(tmp_path / "first" / "work", "expert-*", first)
    first.kill()
    told = [each.communicate(timeout=400)[0] for each in others]
    first.communicate()
    for process, lines in zip(others, told, strict=True):
        assert process.returncode == 0, lines[-3000:]
        assert "Traceback" not in lines


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.2)
