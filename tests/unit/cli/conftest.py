"""The command line run in this process, as a person types it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli.main import main


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


Mome = Callable[..., Ended]


@pytest.fixture
def mome(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mome:
    """Runs `mome` with these arguments, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["mome", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that is not run."""
    file = tmp_path / "recipe.yaml"
    languages, model = "{en: {source: miniwiki}}", "{model: gpt2-nano}"
    file.write_text(f"name: small\ncorpus: {{languages: {languages}}}\nteacher: {model}\nexperts: {model}\n")
    return file


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs, `first` and `second`, that have made nothing yet."""
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "artifacts.json").write_text('{"steps": {}}')
    return tmp_path / "runs"
