"""How much memory there is, and where weights lie for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import available
from orchestrator.available import SHARE, stays_on_disk

GB = 10**9


def test_limits_of_control_groups_above(tmp_path: Path) -> None:
    process, groups = tmp_path / "cgroup", tmp_path / "groups"
    (groups / "a/b").mkdir(parents=True)
    (groups / "a/memory.max").write_text("5000\n")
    (groups / "a/b/memory.max").write_text("max\n")
    process.write_text("0::/a/b\n")
    assert list(available._group_limits(process, groups)) == [5000]
    (groups / "memory/docker/1").mkdir(parents=True)
    (groups / "memory/docker/1/memory.limit_in_bytes").write_text("7000\n")
    (groups / "memory/memory.limit_in_bytes").write_text("9000\n")
    process.write_text("3:cpu,cpuacct:/docker/1\n2:memory:/docker/1\n")
    assert list(available._group_limits(process, groups)) == [7000, 9000]
    assert list(available._group_limits(tmp_path / "none", groups)) == []


def test_weights_lie_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "memory_bytes", lambda: 100 * GB)
    monkeypatch.setattr(available, "gpu_bytes", lambda: 10 * GB)
    most = int(SHARE * 100 * GB / 4)
    assert not stays_on_disk("auto", most, "cpu")
    assert stays_on_disk("auto", most + 1, "cpu")
    assert stays_on_disk("auto", most // 2, "cpu", processes=3)
    assert stays_on_disk("auto", 2 * GB, "cuda")
    assert not stays_on_disk("auto", GB, "cuda")
    assert stays_on_disk("disk", 1, "cpu")
    assert not stays_on_disk("memory", most + 1, "cpu")


def test_this_machine_has_some() -> None:
    assert available.memory_bytes() > GB / 4
