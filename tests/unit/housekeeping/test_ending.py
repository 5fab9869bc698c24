"""What `mome stop` does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import MomeError, ResourceError
from orchestrator.housekeeping import ending
from orchestrator.housekeeping.ending import stop_run
from orchestrator.locks import holder, locked

PROGRAM = """
import signal, sys, time
from pathlib import Path
from orchestrator.locks import locked
{before}
with locked(Path(sys.argv[1])):
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
{after}
"""


@contextmanager
def at_work(root: Path, before: str = "", after: str = "") -> Iterator[subprocess.Popen[bytes]]:
    program = PROGRAM.format(before=before, after=after)
    with subprocess.Popen([sys.executable, "-c", program, str(root)]) as process:
        try:
            while holder(root) is None:
                assert process.poll() is None
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "before",
    [
        "",
        "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.default_int_handler)",
    ],
    ids=["in a terminal", "in a script's background"],
)
def test_the_process_ends_as_by_ctrl_c(tmp_path: Path, before: str) -> None:
    said: list[str] = []
    with at_work(tmp_path, before) as process:
        assert stop_run(tmp_path, said.append)
        assert process.wait(5) == 0
    assert said == [f"told process {process.pid} on {os.uname().nodename} to end; waiting for that"]
    with pytest.raises(MomeError, match="no process is at work"):
        stop_run(tmp_path, print)


def test_a_notebook_lets_go_and_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_LEFT_SECONDS", 0.3)
    with at_work(tmp_path, after="time.sleep(60)") as process:
        assert not stop_run(tmp_path, lambda _: None)
        assert process.poll() is None


def test_a_process_that_does_not_end(tmp_path: Path) -> None:
    before = "signal.signal(signal.SIGINT, lambda *_: None)"
    with at_work(tmp_path, before) as process, pytest.raises(ResourceError, match="has not ended") as caught:
        stop_run(tmp_path, lambda _: None, patience=0.3)
    assert f"kill -9 {process.pid}" in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"host": "elsewhere"}, "another machine"), ({"started": 1.0}, "can't be seen"), (None, "does not say")],
)
def test_what_is_not_to_be_stopped_from_here(tmp_path: Path, changes: dict[str, object] | None, said: str) -> None:
    with locked(tmp_path):
        lock = tmp_path / "run.lock"
        lock.write_text("" if changes is None else json.dumps({**json.loads(lock.read_text()), **changes}))
        with pytest.raises(MomeError, match=said):
            stop_run(tmp_path, print)


def test_another_user_s_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    with locked(tmp_path), pytest.raises(ResourceError, match="another user's"):
        stop_run(tmp_path, print)
