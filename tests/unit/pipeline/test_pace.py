"""How fast processes got on beside others, as the kernel counts it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orchestrator.pipeline import pace
from orchestrator.pipeline.pace import Paces, free_cores

COUNTED = Path("/proc/self/schedstat").exists()
pytestmark = pytest.mark.skipif(not COUNTED, reason="the kernel does not count what threads wait for cores")
BUSY = "import time; end = time.time() + 60\nwhile time.time() < end: pass"


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@contextmanager
def one_core(others: int) -> Iterator[None]:
    """This process on one core, and so many others busy on the same one."""
    before = os.sched_getaffinity(0)
    core = min(before)
    os.sched_setaffinity(0, {core})
    try:
        with ExitStack() as stack:
            for _ in range(others):
                process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
                stack.callback(process.kill)
            time.sleep(0.3)
            yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("others", [0, 1, 2])
def test_seconds_by_themselves_are_those_in_which_it_had_a_core(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace.psutil.Process, "children", lambda *_, **__: [])  # the others are none of a run's own
    with one_core(others), Paces(interval=60) as paces:
        before = time.process_time()
        spin(1.5)
        paces.look()
        had = time.process_time() - before
    begin, end = paces.times[0], paces.times[-1]
    assert paces.seconds(begin, end) == pytest.approx(had, rel=0.15, abs=0.05)
    assert paces.seconds(begin, (begin + end) / 2) == pytest.approx(paces.own[-1] / 2)
    assert paces.own[-1] < (end - begin) / (others + 1) * 1.3  # fewer where other tests are on this core, too


def test_who_waits_for_nothing_else_is_not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace.psutil.Process, "children", lambda *_, **__: [])
    with Paces(interval=60) as paces:
        time.sleep(0.5)  # it hardly ran, so how long it waited to is no pace
        paces.look()
    assert paces.own[-1] == pytest.approx(paces.times[-1] - paces.times[0])


def test_cores_that_others_leave() -> None:
    with one_core(1):
        assert 0 < free_cores(1) < 0.75
        assert 0 < free_cores(2) < 0.9  # two threads beside one


def test_nothing_is_known_where_the_kernel_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pace, "_PROC", tmp_path)
    with Paces(interval=0.01) as paces:
        time.sleep(0.1)
    assert not paces.known
