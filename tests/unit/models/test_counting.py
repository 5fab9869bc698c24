"""Parameters counted once on a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import machine
from orchestrator.config.base import PluginSpec
from orchestrator.errors import PluginError
from orchestrator.models import build_model, counting, head
from orchestrator.models.counting import counts

NANO = PluginSpec(type="gpt2-nano")


@pytest.fixture(autouse=True)
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "_found", {})


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(counting, "build_model", forbidden)


def test_as_the_model_has_them() -> None:
    model = build_model(NANO, 300, 16, 0)
    found = counts(NANO, 300, 16)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (found.head, found.width) == (head(model).weight.numel(), head(model).weight.shape[1])


def test_built_once_in_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counts(NANO, 300, 16)
    forbid_building(monkeypatch)
    monkeypatch.setattr(machine, "_found", {})  # a new process
    assert counts(NANO, 300, 16) == found


@pytest.mark.parametrize(
    ("spec", "vocabulary", "context"),
    [(NANO, 301, 16), (NANO, 300, 32), (PluginSpec(type="gpt2-nano", layers=3), 300, 16)],
)
def test_another_model_is_counted_anew(
    monkeypatch: pytest.MonkeyPatch, spec: PluginSpec, vocabulary: int, context: int
) -> None:
    assert counts(NANO, 300, 16) != counts(spec, vocabulary, context)
    counts(NANO, 300, 16)
    monkeypatch.setattr(counting, "known_digest", lambda _: "other code")
    forbid_building(monkeypatch)
    with pytest.raises(AssertionError):
        counts(NANO, 300, 16)


def test_what_is_no_model_is_refused_each_time() -> None:
    spec = PluginSpec(type="no-such-model")
    for _ in range(2):
        with pytest.raises(PluginError):
            counts(spec, 300, 16)
