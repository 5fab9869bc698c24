"""Clusters of our own: on the loopback interface, gone with whoever started them; a clear word where none is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.cluster.handlers import kept_handler

pytestmark = pytest.mark.ray

PROGRAM = """
import os, sys, time, psutil, ray
from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig
with session(ResourcesConfig(cpus=1)):
    assert os.environ["RAY_ADDRESS"].startswith("127.0.0.1:")
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    processes = psutil.Process().children(recursive=True)
    listening = {c.laddr.ip for p in processes for c in p.net_connections() if c.status == "LISTEN"}
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening
    print("pids", *[p.pid for p in processes], flush=True)
    time.sleep(float(sys.argv[1]))
assert "RAY_ADDRESS" not in os.environ
print("closed", flush=True)
"""


def start(folder: Path, seconds: float) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    program = [sys.executable, "-c", PROGRAM, str(seconds)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env={**environment, "TMPDIR": str(folder)})
    assert process.stdout is not None
    word, *pids = process.stdout.readline().split()
    assert word == "pids"
    return process, [psutil.Process(int(pid)) for pid in pids]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        yield Path(folder)


@pytest.mark.long
def test_a_session_leaves_nothing_behind(short_folder: Path) -> None:
    process, started = start(short_folder, 0)
    assert process.stdout is not None
    assert process.stdout.read() == "closed\n"
    assert process.wait(30) == 0
    assert psutil.wait_procs(started, timeout=20)[1] == []
    assert list(short_folder.iterdir()) == []


@pytest.mark.slow
def test_a_cluster_dies_with_its_killed_owner_and_the_next_session_clears_up(short_folder: Path) -> None:
    process, started = start(short_folder, 600)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert psutil.wait_procs(started, timeout=150)[1] == []  # Ray's two agents look for their parent now and then
    assert len(list(short_folder.iterdir())) == 1
    process, _ = start(short_folder, 0)
    assert process.wait(60) == 0
    assert list(short_folder.iterdir()) == []


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.cluster.session import session
    from orchestrator.config.recipe import ResourcesConfig
    from orchestrator.errors import ResourceError

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    begin = time.monotonic()
    with pytest.raises(ResourceError, match="no Ray cluster can be reached"), session(ResourcesConfig()):
        pass
    assert time.monotonic() - begin < 90


def _answer(server: socket.socket, answer: bytes) -> None:
    with server.accept()[0] as caller:
        caller.sendall(answer)
        time.sleep(1)


@pytest.mark.parametrize(
    ("answer", "says"), [(b"", "timed out"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no Ray")], ids=["silence", "web"]
)
def test_what_answers_and_is_no_cluster_is_named_in_seconds(
    answer: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.cluster import joining, session
    from orchestrator.config.recipe import ResourcesConfig
    from orchestrator.errors import ResourceError

    monkeypatch.setattr(joining, "_KNOCK_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        threading.Thread(target=_answer, args=(server, answer), daemon=True).start()
        with pytest.raises(ResourceError, match=says), session.session(ResourcesConfig()):
            pass


def test_a_cluster_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch, short_folder: Path) -> None:
    from orchestrator.cluster import session
    from orchestrator.config.recipe import ResourcesConfig
    from orchestrator.errors import ResourceError

    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because …\nmore")

    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    monkeypatch.setattr(session.ray, "init", late)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    says = pytest.raises(ResourceError, match="Ray does not start: Exception: The current node timed out")
    with says as caught, session.session(ResourcesConfig(cpus=1)):
        pass
    assert "--local" in caught.value.fix
    assert "more" not in str(caught.value)
    assert not session.is_own_cluster()
    assert list(short_folder.iterdir()) == []


@pytest.mark.parametrize(("other", "alone"), [("127.0.0.2", True), ("127.0.0.1", False)])
def test_a_ray_on_loopback_alone_is_told_from_one_on_every_address(
    other: str, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ray.init of 2.60 replaces 127.0.0.1 by the machine's other address, whoever listens there or not."""
    from orchestrator.cluster import joining

    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: other)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert joining._only_on_loopback(f"127.0.0.1:{port}") is alone
        assert not joining._only_on_loopback(f"192.0.2.7:{port}")


INTERRUPTED = """
import signal, sys, time
from orchestrator.cli.ending import run_to_its_end
from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig
def work():
    with session(ResourcesConfig(cpus=1)):
        print("in", flush=True)
        time.sleep(600)
run_to_its_end(work)
"""


@pytest.mark.parametrize("to_all", [False, pytest.param(True, marks=pytest.mark.long)])
def test_sigterm_ends_a_command_as_ctrl_c_does_though_ray_sets_handlers_of_its_own(
    short_folder: Path, to_all: bool
) -> None:
    """Ray 2.60's `ray.init` (ray/_private/worker.py): exit code 15, a stack from C++, and not a word of ours."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    begun = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], env={**environment, "TMPDIR": str(short_folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert begun.stdout is not None
    assert begun.stdout.readline() == "in\n"
    started = psutil.Process(begun.pid).children(recursive=True)
    (os.killpg if to_all else os.kill)(begun.pid, signal.SIGTERM)
    _, said = begun.communicate(timeout=60)
    assert (begun.returncode, said.splitlines()[-1:]) == (
        130, ["mome: interrupted; a run goes on from here with the same command"]
    )  # fmt: skip
    assert "SIGTERM received" not in said
    assert psutil.wait_procs(started, timeout=20)[1] == []


@pytest.mark.long
def test_a_command_that_ends_while_ray_starts_leaves_no_process(short_folder: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    begun = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], env={**environment, "TMPDIR": str(short_folder)}, stderr=subprocess.PIPE
    )
    own, end, started = psutil.Process(begun.pid), time.monotonic() + 60, list[psutil.Process]()
    while not any(each.name() == "raylet" for each in started) and time.monotonic() < end:
        time.sleep(0.02)
        started = own.children(recursive=True)
    begun.send_signal(signal.SIGTERM)
    begun.communicate(timeout=60)
    assert begun.returncode == 130
    assert psutil.wait_procs(started, timeout=20)[1] == []
    assert list(short_folder.iterdir()) == []


def test_a_command_that_has_left_a_cluster_is_not_connected_again_by_ray() -> None:
    """Ray 2.60 does so at any call (ray/_private/auto_init_hook.py), which a thread of Serve's makes at the end."""
    asks = """
from orchestrator.cli.ending import run_to_its_end
def work():
    import ray
    try:
        ray.put(1)
    except ray.exceptions.RaySystemError:
        print("not connected")
run_to_its_end(work)
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    ended = subprocess.run([sys.executable, "-c", asks], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "not connected\n", ended.stderr


def test_a_program_without_a_handler_keeps_rays() -> None:
    before = signal.getsignal(signal.SIGTERM)
    theirs, ours = (lambda *_: None), (lambda *_: None)
    try:
        for own, left in ((signal.SIG_DFL, theirs), (ours, ours)):
            signal.signal(signal.SIGTERM, own)
            with kept_handler():
                signal.signal(signal.SIGTERM, theirs)
            assert signal.getsignal(signal.SIGTERM) is left
    finally:
        signal.signal(signal.SIGTERM, before)
