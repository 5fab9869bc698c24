"""`ray job submit` against a real cluster on this machine: its stages, logs and exit code."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The environment of a shell beside a running cluster."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    shell = {**clean, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "OMP_NUM_THREADS": "1"}
    shell["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or 127.0.0.1 is replaced: findings/ray-loopback-address.sh
    shell["PYTHONPATH"] = str(ROOT)  # the package is installed on every node, whatever a job brings along
    port, dashboard, agent, metrics, client = free_ports(5)
    with tempfile.TemporaryDirectory(prefix="mj", ignore_cleanup_errors=True) as folder:
        options = {
            "num-cpus": 2,
            "object-store-memory": 150 * 2**20,
            "node-ip-address": "127.0.0.1",
            "dashboard-host": "127.0.0.1",
            "temp-dir": folder,
            "port": port,
            "dashboard-port": dashboard,
            "dashboard-agent-listen-port": agent,
            "metrics-export-port": metrics,
            "ray-client-server-port": client,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        head = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--disable-usage-stats", *arguments],
            env={**shell, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until_it_answers(dashboard, head)
            yield {**shell, "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
        finally:
            stop(head)


def until_it_answers(port: int, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and head.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    pytest.fail("the cluster did not start")


def stop(head: subprocess.Popen[bytes]) -> None:
    """End the processes that the fixture started, and no others."""
    started = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.terminate()
    psutil.wait_procs([psutil.Process(head.pid)] if head.poll() is None else [], timeout=10)
    for process in started:
        if process.is_running():
            process.kill()
    head.kill()
    head.wait()


def submit(environment: dict[str, str], *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [RAY, "job", "submit", "--working-dir", ".", "--", sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_job_trains_and_its_log_comes_through(environment: dict[str, str], tmp_path: Path) -> None:
    tiny = ["teacher.training.tokens=4096", "corpus.max_documents=25", "tracking.type=none", "resources.cpus=2"]
    done = submit(environment, "jobs.train_teacher", "jobs/recipes/smoke.yaml", *tiny, "--runs", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "teacher: done in" in done.stdout
    assert "succeeded" in done.stdout
    assert list(tmp_path.glob("smoke/stages/teacher/*/model/model.safetensors"))


def test_workers_of_a_job_find_plugins_in_its_working_directory(environment: dict[str, str], tmp_path: Path) -> None:
    few = ["teacher.training.tokens=4096", "experts.training.tokens=4096", "tracking.type=none", "resources.cpus=2"]
    example = ROOT / "examples" / "mome-example"
    done = submit(environment, "jobs.distill_experts", "recipe.yaml", *few, "--runs", str(tmp_path), folder=example)
    assert done.returncode == 0, done.stdout + done.stderr
    (manifest,) = tmp_path.glob("example/stages/expert-en/*/manifest.json")
    assert "mome_example.losses" in json.loads(manifest.read_text())["code"]["from"]


def test_a_job_s_temporary_folder_is_no_place_for_a_run(environment: dict[str, str]) -> None:
    wrong = submit(environment, "jobs.run", "jobs/recipes/smoke.yaml")
    assert wrong.returncode != 0
    assert "which Ray deletes" in wrong.stdout
    assert "--runs /FOLDER" in wrong.stdout
    assert "exit code 2" in wrong.stdout + wrong.stderr


def test_a_mistake_fails_the_job_and_its_message_comes_through(environment: dict[str, str], tmp_path: Path) -> None:
    wrong = submit(environment, "jobs.run", "jobs/recipes/smoke.yaml", "teacher.modle=gpt2", "--runs", str(tmp_path))
    assert wrong.returncode != 0
    assert 'did you mean "model"?' in wrong.stdout
    assert "exit code 2" in wrong.stdout + wrong.stderr
