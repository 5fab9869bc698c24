"""Processes forked from one that has imported what they need."""

from __future__ import annotations

import json
import os
import resource
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from serve.deployments.forking import forking

pytest.importorskip("ray")
TELL = """
import json, os, resource, signal, sys
print(json.dumps({
    "arguments": sys.argv[1:], "parent": os.getppid(), "name": __name__,
    "folder": os.getcwd(), "TOLD": os.environ.get("TOLD"), "sent": sys.stdin.read(),
    "leads": os.getsid(0) == os.getpid(), "interrupts": signal.getsignal(signal.SIGINT).__name__,
    "limits": [os.umask(0), os.nice(0), resource.getrlimit(resource.RLIMIT_NOFILE)[0]],
    "children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "files": [os.readlink(f"/proc/self/fd/{each}").partition(":")[0] for each in os.listdir("/proc/self/fd")[:-1]],
    "threads": os.listdir("/proc/self/task") == [str(os.getpid())],
}), flush=True)
sys.stderr.write("an error\\n")
"""
DRAW = """
import json, random, uuid
from threading import Thread
from ray import ObjectID, WorkerID
import numpy
drawn = [random.random(), numpy.random.rand(), uuid.uuid4().hex]
def draw():
    drawn.extend([ObjectID.from_random().hex(), WorkerID.from_random().hex()])
draw()
thread = Thread(target=draw)
thread.start()
thread.join()
print(json.dumps(drawn))
"""
COMPUTE = """
import json, torch
torch.set_num_threads(2)
torch.manual_seed(0)
values = torch.rand(256, 256)
print(json.dumps([(values @ values).sum().item(), torch.get_num_threads()]))
"""
END = """
import atexit, logging, sys
from threading import Thread
atexit.register(print, "left in order", flush=True)
Thread(target=lambda: __import__("time").sleep(0.2) or print("waited for", flush=True)).start()
raise SystemExit(3)
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with forking(tmp_path_factory.mktemp("a parent")) as found:  # with a blank in its path
        yield found


def run(
    command: str, folder: Path, text: str, limits: Callable[[], object] | None = None, forked: bool = True,
    **variables: str,
) -> tuple[str, str]:  # fmt: skip
    """What a script prints, and says of errors."""
    (folder / "script.py").write_text("import sys; open('forked', 'w').write(str('torch' in sys.modules))\n" + text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        ["bash", "-c", f"exec {command} {folder}/script.py 'a b' --c=d"], cwd=folder, input="in", capture_output=True,
        text=True, preexec_fn=limits, env={**environment, "TOLD": "one", **variables}, check=False,
    )  # fmt: skip
    assert (folder / "forked").read_text() == str(forked)
    return done.stdout, done.stderr


def limited() -> None:
    os.umask(0o027)
    os.nice(1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (777, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.mark.timeout(120)
def test_a_fork_is_what_a_process_of_its_own_would_be(command: str, tmp_path: Path) -> None:
    printed, said = run(command, tmp_path, TELL, limits=limited)
    found = json.loads(printed)
    niceness, umask = os.nice(0) + 1, 0o027
    assert found | {"parent": 0} == {
        "arguments": ["a b", "--c=d"], "parent": 0, "name": "__main__", "folder": str(tmp_path),
        "TOLD": "one", "sent": "in", "leads": True, "limits": [umask, niceness, 777], "children": True,
        "interrupts": "default_int_handler", "files": ["pipe", "pipe", "pipe"], "threads": True,
    }  # fmt: skip
    assert said == "an error\n"
    again, _ = run(command, tmp_path, TELL)
    assert json.loads(again)["parent"] == found["parent"]


def test_forks_draw_different_numbers(command: str, tmp_path: Path) -> None:
    drawn = [json.loads(run(command, tmp_path, DRAW)[0]) for _ in range(3)]
    assert len({number for each in drawn for number in each}) == sum(map(len, drawn))


def test_forks_compute_with_threads_of_their_own(command: str, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    values = torch.rand(256, 256)
    total, threads = json.loads(run(command, tmp_path, COMPUTE)[0])
    assert total == pytest.approx((values @ values).sum().item(), rel=1e-5)
    assert threads == 2


def test_a_fork_ends_in_order(command: str, tmp_path: Path) -> None:
    assert run(command, tmp_path, END)[0] == "waited for\nleft in order\n"
    assert "ValueError: wrong" in run(command, tmp_path, "raise ValueError('wrong')")[1]


def test_nothing_is_left_of_forks_that_have_ended(command: str, tmp_path: Path) -> None:
    parent = psutil.Process(json.loads(run(command, tmp_path, TELL)[0])["parent"])
    assert eventually(lambda: not parent.children())
    before = parent.num_fds()
    for text in ("pass", "import os; os.kill(os.getpid(), 9)", "raise SystemExit(1)"):
        run(command, tmp_path, text)
    assert eventually(lambda: not parent.children())
    assert (parent.num_fds(), parent.num_threads()) == (before, 1)


def test_who_asks_in_vain_does_not_stop_the_parent(command: str, tmp_path: Path) -> None:
    path = shlex.split(command)[-1]
    for said in (b"", b"+", b"+no wish"):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(path)
            asking.sendall(said)
    run(command, tmp_path, TELL)


def test_what_another_environment_would_have_changed_is_not_forked(command: str, tmp_path: Path) -> None:
    for variables in ({"RAY_JOB_ID": "02000000"}, {"TOLD": "two"}, {"PYTHONPATH": "/nowhere"}):
        told = json.loads(run(command, tmp_path, TELL, forked=False, **variables)[0])["TOLD"]
        assert told == variables.get("TOLD", "one")
    run(command, tmp_path, TELL, SHLVL="7")


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_without_a_parent_the_asker_becomes_the_process(how: str, tmp_path: Path) -> None:
    with forking(tmp_path) as command:
        if how == "killed":
            (parent,) = (each for each in psutil.Process().children() if f"{forking.__module__}" in each.cmdline())
            parent.kill()
            parent.wait()
            printed, said = run(command, tmp_path, TELL, forked=False)
    if how == "ended":
        printed, said = run(command, tmp_path, TELL, forked=False)
    found = json.loads(printed)
    assert (found["sent"], found["parent"], said) == ("in", os.getpid(), "an error\n")


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()
