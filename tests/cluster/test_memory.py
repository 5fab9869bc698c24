"""Memory of steps on Ray: of their own processes, wherever those are; and of the whole run."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import cluster_stages
import pytest

from orchestrator.artifacts import Artifact, Store
from orchestrator.cluster.runner import RayRunner
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.stages.base import Expected, Stage

pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a highest mark"),
]
MB = 10**6


def run(folder: Path, resources: ResourcesConfig, **stages: Stage) -> dict[str, Artifact]:
    steps = tuple(PlannedStep(Step(name, stage), name * 16, None) for name, stage in stages.items())
    plan = Plan(Store(folder), steps, Expected(512, 64, 1, None, PluginSpec(type="gpt2_nano")))
    with closing(RayRunner(resources)) as runner:
        return execute(plan, runner, [])


def test_two_steps_at_once_do_not_count_each_other(tmp_path: Path) -> None:
    large, small = cluster_stages.Holds(megabytes=300, together=True), cluster_stages.Holds(together=True)
    done = run(tmp_path, ResourcesConfig(cpus=2), a=large, b=small)
    a, b = (done[name].manifest["peak_memory_bytes"] for name in "ab")
    assert 250 * MB < a - b < 450 * MB, (a, b)
    assert b < 550 * MB, "a worker with torch in it, and nothing of the other step"
    whole = {done[name].manifest["run_peak_memory_bytes"] for name in "ab"}
    assert min(whole) > a, "the driver, the workers, Ray's own processes"


def test_items_of_a_map_count_for_the_step_that_they_are_of(tmp_path: Path) -> None:
    stages = {"a": cluster_stages.Holds(items=(200, 200, 1, 1)), "b": cluster_stages.Holds()}
    done = run(tmp_path, ResourcesConfig(cpus=2), **stages)
    a, b = (done[name].manifest["peak_memory_bytes"] for name in "ab")
    assert a > b + 200 * MB, (a, b)


def test_every_worker_of_a_training_counts(tmp_path: Path) -> None:
    resources = ResourcesConfig(cpus=2, workers=2, strategy="single")
    stage = cluster_stages.HoldsInTraining(megabytes=200)
    found = run(tmp_path, resources, a=stage)["a"].manifest
    assert found["peak_memory_bytes"] > 2 * 300 * MB, "two workers, with torch in each"
    assert found["peak_memory_bytes"] < found["run_peak_memory_bytes"] + 400 * MB


_FAULTS = """
import resource, sys
from orchestrator.cluster.training import keep_memory

def taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del [bytearray(b"x") * (16 << 20) for _ in range(8)][:]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1:]:
    keep_memory()
print(sum(taken() for _ in range(8)))
"""


def test_a_worker_keeps_the_memory_of_large_tensors() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("of glibc")
    commands = ([sys.executable, "-c", _FAULTS, *words] for words in ([], ["keep"]))
    given_back, kept = (int(subprocess.run(words, capture_output=True, check=True).stdout) for words in commands)
    assert kept < given_back / 4
