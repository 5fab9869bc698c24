from __future__ import annotations

import importlib.util

import pytest

from orchestrator.cli import doctor


def test_missing_packages_are_named_with_the_line_that_installs_them(mome, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("mlflow", "datasets") else real(name)
    )
    monkeypatch.setattr(doctor, "_gpu", lambda: ("GPUs", "none", "training", ""))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ended = mome("doctor")
    assert ended.code == 0
    words = " ".join(ended.out.split())
    for known in ("CPUs", "memory", "GPUs", "RAY_ADDRESS", "mlflow", "datasets"):
        assert known in words
    assert ended.out.count("not") >= 2
    (mlflow,) = [line for line in ended.out.splitlines() if "mlflow" in line]
    assert "not" in mlflow
    assert "pip install" in mlflow


def test_a_tracking_servers_password_is_not_shown(mome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_gpu", lambda: ("GPUs", "none", "training", ""))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:pa55word@host")
    out = "".join(mome("doctor").out.split())
    assert "***@host" in out
    assert "pa55" not in out
