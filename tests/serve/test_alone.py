"""`mome serve RUN --local` and `mome keys`, as a person types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import httpx
import pytest
from safetensors.torch import load_file, save_file

from orchestrator.artifacts import Store
from orchestrator.errors import ServingError
from serve.alone import serve_alone
from tests.serve.conftest import write_model

MOME = [sys.executable, "-m", "orchestrator.cli.main"]
Start = Callable[..., tuple[subprocess.Popen[str], str, list[str]]]


@pytest.fixture
def start(run_folder: Path) -> Iterator[Start]:
    """Starts a server; gives its process, its address and its lines on the standard error."""
    processes = []

    def started(*options: str) -> tuple[subprocess.Popen[str], str, list[str]]:
        command = [*MOME, "serve", str(run_folder), "--local", "--port", "0", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
        processes.append(process)
        assert process.stdout is not None
        found = re.search(r"http://\S+?(?=/ )", process.stdout.readline())
        assert found, process.communicate()
        lines: list[str] = []
        Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")), daemon=True).start()
        return process, found[0], lines

    yield started
    for process in processes:
        process.kill()
        process.wait()


def ready(url: str) -> None:
    until = time.monotonic() + 60
    while httpx.get(f"{url}/ready").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.long
def test_a_server_without_ray_answers_with_keys_and_finishes_what_runs(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made = subprocess.run([*MOME, "keys", "add", "me", "--file", str(file)], capture_output=True, text=True, check=True)
    key = made.stdout.strip()
    process, url, lines = start("--keys", str(file))
    assert httpx.get(f"{url}/health").status_code == 200
    ready(url)
    body = {"prompt": "the house", "max_tokens": 3}
    assert httpx.post(f"{url}/v1/completions", json=body).status_code == 401
    client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=30)
    assert client.post("/v1/completions", json=body).json()["route"]["expert"] == "en"
    with client.stream("POST", "/v1/completions", json={**body, "max_tokens": 50, "stream": True}) as running:
        parts = running.iter_lines()
        next(parts)
        process.send_signal(signal.SIGTERM)
        assert [line for line in parts if line][-1] == "data: [DONE]"
    assert process.wait(20) == 0
    asked = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line["status"] for line in asked if line["path"] == "/v1/completions"] == [401, 200, 200]
    assert asked[-1]["key"] == "me"
    assert "the house" not in "".join(lines)
    ray = subprocess.run([sys.executable, "-c", "import sys, serve.alone, serve.api; print('ray' in sys.modules)"],
                         capture_output=True, text=True, check=True)  # fmt: skip
    assert ray.stdout.strip() == "False"


@pytest.mark.long
def test_keys_on_the_command_line(tmp_path: Path) -> None:
    def mome(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*MOME, "keys", *words], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert mome("add", "alice").stdout.startswith("mome-")
    assert mome("add", "bob").returncode == 0
    assert [line.split("\t")[0] for line in mome("list").stdout.splitlines()] == ["alice", "bob"]
    assert mome("revoke", "alice").returncode == 0
    for words in (("revoke", "alice"), ("add", "bob"), ("list", "--file", "nowhere.json")):
        refused = mome(*words)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("mome: ")


@pytest.mark.parametrize("words", [("keys", "list"), ("serve", "RUN", "--local")])
def test_a_package_that_is_missing_is_told_with_the_line_that_installs_it(
    run_folder: Path, words: tuple[str, ...]
) -> None:
    arguments = ["mome", *(str(run_folder) if word == "RUN" else word for word in words)]
    without = "import sys; sys.modules['fastapi'] = None"
    code = f"{without}; sys.argv = {arguments!r}; from orchestrator.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'mome-orchestrator[serve]'" in done.stderr


def test_what_can_not_be_served_is_refused_before_anything_is_loaded(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="no API keys"):
        serve_alone(run_folder, host="0.0.0.0")
    with pytest.raises(ServingError, match="keys can't be read"):
        serve_alone(run_folder, keys=tmp_path / "none.json")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServingError, match="can't listen"):
            serve_alone(run_folder, port=taken.getsockname()[1])


def test_an_expert_that_can_not_be_loaded_ends_the_server_with_the_reason(run_folder: Path, tmp_path: Path) -> None:
    def write(out: Path) -> None:
        write_model(out / "model", 0)
        weights = load_file(out / "model" / "model.safetensors")
        weights["transformer.wte.weight"][7, 3] = float("nan")
        save_file(weights, out / "model" / "model.safetensors", {"format": "pt"})

    store = Store(shutil.copytree(run_folder, tmp_path / "fake"))
    published = store.publish("expert-fr", "n" * 16, {}, write)
    store.set_current("fake", {**store.current(), "expert-fr": published})
    with pytest.raises(ServingError, match="not all finite numbers") as refused:
        serve_alone(store.root, port=0)
    assert refused.value.where == str(published.folder / "model")
