"""What memory a step's own processes held while they were at it, and nothing else."""

from __future__ import annotations

import mmap
import sys
import threading
from pathlib import Path

import pytest

from orchestrator import memory
from orchestrator.artifacts import Store
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.memory import MeasuredMap, MemoryWatch, PeakMemory, Used, memory_facts
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.processes import ProcessMap
from orchestrator.stages.base import Expected, Stage

MB = 10**6
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a highest mark")


def hold(megabytes: int) -> int:
    """Take memory, touch it and give it back: from the system itself, as malloc may keep what it is given back."""
    with mmap.mmap(-1, megabytes * MB) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        return len(held)


@linux
def test_a_peak_is_seen_after_it_is_gone_and_not_in_the_next_block():
    with PeakMemory() as nothing:
        pass
    with PeakMemory() as large:
        hold(80)
    with PeakMemory() as small:
        hold(1)
    assert 70 * MB < large.bytes - nothing.bytes < 250 * MB
    assert small.bytes < nothing.bytes + 20 * MB


def test_where_the_mark_can_not_be_put_back_there_is_still_a_figure(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PROC", tmp_path / "none")
    with PeakMemory() as peak:
        kept = bytes(30 * MB).replace(b"\0", b"\1")
    assert peak.bytes >= len(kept)


@linux
def test_processes_of_a_map_count_with_their_own_peaks():
    processes = ProcessMap(2)
    try:
        with PeakMemory() as peak:
            assert list(MeasuredMap(processes, peak)(hold, [120, 1, 1, 1])) == [120 * MB, MB, MB, MB]
    finally:
        processes.close()
    assert 1 <= len(peak.others) <= 2
    assert peak.bytes == peak.own + sum(peak.others.values())
    assert 120 * MB < max(peak.others.values()) < peak.bytes


@linux
def test_a_map_in_the_same_process_forgets_nothing_of_it():
    with PeakMemory() as nothing:
        pass
    with PeakMemory() as peak:
        hold(80)
        list(MeasuredMap(map, peak)(hold, [1, 1]))
    assert peak.others == {}
    assert peak.bytes > nothing.bytes + 70 * MB


class Holds(Stage):
    megabytes: int

    def run(self, inputs, out, env):
        hold(self.megabytes)


@linux
def test_steps_of_a_local_run_have_their_own_peaks(tmp_path):
    runner = LocalRunner(ResourcesConfig(cpus=1, device="cpu"))
    used = {}
    for megabytes in (150, 1):
        used[megabytes] = runner.run(Step("x", Holds(megabytes=megabytes)), {}, tmp_path, tmp_path)
    runner.close()
    assert used[150].here
    assert used[150].peak - used[1].peak > 100 * MB


class Says:
    """A runner that says what it is told to."""

    def __init__(self, used):
        self.used = used

    def run(self, step, inputs, out, work, begun):
        begun()
        return self.used

    def expect(self, steps):
        pass

    def stop(self, name):
        pass

    def close(self):
        pass


@pytest.mark.parametrize(
    ("used", "peak", "whole"), [(Used(7, True), 7, True), (Used(7, False), 7, False), (None, None, True)]
)
def test_a_manifest_has_the_steps_figure_and_the_runs(tmp_path, used, peak, whole):
    step = PlannedStep(Step("x", Holds(megabytes=1)), "f" * 64, None)
    plan = Plan(Store(tmp_path), (step,), Expected(512, 64, 1, None, PluginSpec(type="gpt2_nano")))
    done = execute(plan, Says(used), [])
    found = done["x"].manifest
    assert found["peak_memory_bytes"] == peak
    assert (found["run_peak_memory_bytes"] or 0) > 10 * MB if whole else found["run_peak_memory_bytes"] is None


def test_a_watch_keeps_the_largest_and_rests_the_longer_the_longer_it_looks(monkeypatch):
    sizes = iter([5, 9])
    looked = threading.Event()

    def total() -> int:
        size = next(sizes, 3)
        if size == 3:
            looked.set()
        return size

    monkeypatch.setattr(memory, "total_memory", total)
    with MemoryWatch(interval=0.001) as watch:
        assert looked.wait(10)
    assert watch.peak() == 9
    assert memory_facts(Used(4, True), watch) == {"peak_memory_bytes": 4, "run_peak_memory_bytes": 9}
    assert memory_facts(Used(11, False), watch) == {"peak_memory_bytes": 11, "run_peak_memory_bytes": None}
    assert memory_facts(Used(10, True), watch) == {"peak_memory_bytes": 10, "run_peak_memory_bytes": 10}


def test_no_two_processes_have_one_name():
    assert memory.process_name() == memory.process_name()
    assert str(Path("/proc/self").resolve().name if sys.platform.startswith("linux") else "") in memory.process_name()
