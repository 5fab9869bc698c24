"""The lock of a run's folder: one process at work, which the lock's file names."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from orchestrator.errors import RunLockedError
from orchestrator.locks import Holder, holder, locked


def _hold(root, ready, leave):
    with locked(root):
        ready.set()
        leave.wait(30)


def _held_elsewhere(root):
    """A process that holds the lock, and what lets it go."""
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(root, ready, leave))
    process.start()
    assert ready.wait(30)
    return process, leave


def test_a_second_process_is_refused_and_a_killed_one_lets_go(tmp_path):
    process, _ = _held_elsewhere(tmp_path)
    found = holder(tmp_path)
    assert found.pid == process.pid
    assert found.is_alive
    assert found.command[0].endswith("python") or "python" in found.command[0]
    with pytest.raises(RunLockedError, match=str(process.pid)), locked(tmp_path):
        pass
    process.kill()
    process.join()
    assert holder(tmp_path) is None  # although its text is there
    with locked(tmp_path):
        assert holder(tmp_path) == replace(Holder.this(), since=holder(tmp_path).since)
    assert (tmp_path / "run.lock").read_text() == ""
    assert holder(tmp_path) is None


def test_who_is_patient_waits_and_says_for_whom(tmp_path):
    process, leave = _held_elsewhere(tmp_path)
    told = []

    def say(line):
        told.append(line)
        leave.set()

    with locked(tmp_path, say):
        assert holder(tmp_path).pid == os.getpid()
    process.join()
    assert len(told) == 1
    assert f"process {process.pid}" in told[0]
    assert "waiting for its end" in told[0]


def test_who_has_just_taken_it_has_a_moment_to_write(tmp_path):
    with locked(tmp_path):
        text = (tmp_path / "run.lock").read_text()
        (tmp_path / "run.lock").write_text("")
        late = threading.Timer(0.2, lambda: (tmp_path / "run.lock").write_text(text))
        late.start()
        assert holder(tmp_path).pid == os.getpid()
        late.join()


def test_no_password_is_written(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["mome", "run", "a.yaml", "tracking.uri=https://me:word@host/x"])
    assert Holder.this().command[-1] == "tracking.uri=https://…@host/x"


def test_nobody_holds_what_nobody_has_locked(tmp_path):
    assert holder(tmp_path) is None
    for text in ("", "process 1 on machine", "[]", '{"host": 3}', "\x00\xff"):
        (tmp_path / "run.lock").write_text(text)
        assert holder(tmp_path) is None


def test_a_process_of_another_machine(tmp_path):
    with locked(tmp_path):
        facts = json.loads((tmp_path / "run.lock").read_text())
        (tmp_path / "run.lock").write_text(json.dumps({**facts, "host": "elsewhere"}))
        found = holder(tmp_path)
    assert (found.host, found.is_here, found.is_alive) == ("elsewhere", False, False)
    assert str(found) == f"process {os.getpid()} on elsewhere"


def test_a_lock_that_names_nobody_is_held_all_the_same(tmp_path):
    with locked(tmp_path):
        (tmp_path / "run.lock").write_text("process 1 on machine")
        assert holder(tmp_path) == Holder()
        assert str(holder(tmp_path)) == "another process"


def test_another_process_with_the_same_number_is_not_the_holder():
    mine = Holder.this()
    assert mine.is_alive
    assert not replace(mine, started=mine.started - 60).is_alive


def test_a_look_at_the_lock_refuses_nobody(tmp_path, monkeypatch):
    import fcntl

    with locked(tmp_path):
        pass
    look = (tmp_path / "run.lock").open()
    fcntl.flock(look, fcntl.LOCK_SH)
    monkeypatch.setattr("orchestrator.locks.time.sleep", lambda _: look.close())
    with locked(tmp_path):
        assert holder(tmp_path).pid == os.getpid()


def test_what_a_script_has_put_in_the_background_ignores_ctrl_c():
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); print(); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        its = Holder(os.uname().nodename, process.pid)
        assert its.ignores(signal.SIGINT)
        assert not its.ignores(signal.SIGTERM)
        process.stdin.close()
    assert not its.ignores(signal.SIGINT)
