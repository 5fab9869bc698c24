"""Whether bf16 is worth it is measured once on a machine, and then known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orchestrator import machine
from orchestrator.losses import _precision
from orchestrator.losses._precision import GAIN, bf16_gain, decide_bf16, fast_bf16


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Gains that will be measured, in a process that knows nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "_found", {})
    monkeypatch.setattr(_precision, "_decided", None)
    gains = [GAIN + 0.1, GAIN - 0.1]
    monkeypatch.setattr(_precision, "bf16_gain", lambda: gains.pop(0))
    return gains


def test_measured_once_a_machine(measured: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_bf16()
    assert fast_bf16()
    monkeypatch.setattr(machine, "_found", {})  # another process
    decide_bf16(None)
    assert fast_bf16()
    assert len(measured) == 1


@pytest.mark.parametrize("nonsense", ["fast", 0.0, -1.0, float("inf"), True, None, {}])
def test_nonsense_is_measured_anew(measured: list[float], nonsense: object) -> None:
    machine.remember("bf16_gain", nonsense)
    assert fast_bf16()
    assert len(measured) == 1


def test_little_is_gained_by_what_is_hardly_faster(measured: list[float]) -> None:
    del measured[0]
    assert not fast_bf16()


def test_what_is_decided_needs_no_measurement(measured: list[float]) -> None:
    decide_bf16(False)
    assert not fast_bf16()
    assert len(measured) == 2


def test_a_measurement_compares_both_types_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    monkeypatch.setattr(_precision, "_products", lambda *tensors: kinds.append(tensors[-1]))
    assert bf16_gain() > 0
    assert kinds[:4] == [torch.float32, torch.bfloat16] * 2
