"""Nodes that do not see the run's folder: what they read, write and keep goes through a store, which is a real S3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from nodes import nodes
from steps import wait_for_step

from tests.unit.remote.server import S3, served

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *("corpus.max_documents=25", "tokenizer.vocab_size=512", "tracking.type=none", "evaluation.max_blocks=4"),
    *("teacher.training.tokens=500000", "teacher.training.checkpoint_every=20", "experts.training.tokens=16384"),
    *("resources.threads=1", "resources.cpus=2"),
)
HIDES = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with served() as s3:
        yield s3


def command(runs: Path, *words: str) -> list[str]:
    line = [sys.executable, "-m", "orchestrator.cli.main", "run", "jobs/recipes/smoke.yaml", *SMALL, *words]
    return [*line, "--runs", str(runs)]


def weights(runs: Path) -> dict[str, str]:
    files = runs.glob("smoke/stages/*/*/training.json")
    return {file.parts[-3]: json.loads(file.read_text())["weights_sha256"] for file in files}


@pytest.mark.slow
@pytest.mark.skipif(not HIDES, reason="a mount namespace needs rights that are not given here")
@pytest.mark.parametrize("fails", [0.0, 0.33])
def test_a_run_ends_with_the_same_weights_though_a_worker_dies_and_a_third_of_all_requests_fail(
    s3: S3, tmp_path: Path, fails: float
) -> None:
    hidden, seen = tmp_path / "hidden", tmp_path / "seen"
    hidden.mkdir()
    subprocess.run(command(seen, "--local"), cwd=ROOT, check=True, capture_output=True)
    store = s3.store(f"away-{fails}")
    with nodes([{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}], hidden, s3.environment) as cluster:
        s3.fails = fails
        with subprocess.Popen(
            command(hidden, f"resources.storage={store.url}", "resources.slots=2"),
            cwd=ROOT,
            env=cluster.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as work:
            wait_for_step(hidden, 60, work)
            workers(cluster.process.pid)[0].kill()
            told = work.communicate(timeout=400)[0]
        s3.fails = 0.0
    print(told)
    assert work.returncode == 0, told[-3000:]
    assert "restart 1 of 2 from the last checkpoint" in told
    assert weights(hidden) == weights(seen)
    steps = [json.loads(line)["step"] for line in teacher_rows(hidden) if '"loss"' in line]
    assert steps == sorted(set(steps)), "rows come once, and in order"
    places = [name.place for name in replace(store, url=f"{store.url}/smoke").artifacts()]
    assert {place.split("/")[0] for place in places} == {"stages"}, "nothing is left of attempts"


def teacher_rows(runs: Path) -> list[str]:
    (found,) = runs.glob("smoke/stages/teacher/*/metrics.jsonl")
    return found.read_text().splitlines()


def workers(pid: int) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith("ray::RayTrainWorker"):
                found.append(process)
    return found
