"""What is remembered of a machine: in the user's cache folder, or in this process alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import machine


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "_found", {})
    return tmp_path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process begins."""
    monkeypatch.setattr(machine, "_found", {})


def test_what_is_remembered_outlives_the_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.recall("gain") is None
    machine.remember("gain", 2.5)
    machine.remember("other", [1])
    forget(monkeypatch)
    assert (machine.recall("gain"), machine.recall("other")) == (2.5, [1])
    assert [path.name[:8] for path in (home / "mome").iterdir()] == ["machine-"]


def test_another_processor_has_a_file_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.remember("gain", 2.5)
    forget(monkeypatch)
    monkeypatch.setattr(machine, "processor", lambda: "another")
    assert machine.recall("gain") is None


@pytest.mark.parametrize("damaged", ["", "{", "[1]", '"text"', "[" * 100_000, "\0"])
def test_a_damaged_file_is_as_none(home: Path, monkeypatch: pytest.MonkeyPatch, damaged: str) -> None:
    machine.remember("gain", 2.5)
    next((home / "mome").iterdir()).write_text(damaged)
    forget(monkeypatch)
    assert machine.recall("gain") is None
    machine.remember("gain", 3.0)
    forget(monkeypatch)
    assert machine.recall("gain") == 3.0


def test_without_a_folder_it_is_remembered_by_the_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    machine.remember("gain", 2.5)
    assert machine.recall("gain") == 2.5
    forget(monkeypatch)
    assert machine.recall("gain") is None


def test_the_processor_has_a_name() -> None:
    assert machine.processor()
