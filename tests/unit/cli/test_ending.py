"""Commands that end badly: a message and an exit code; the traceback in a file, printed where it is asked for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import FaultError, RecipeError, StageFailedError


@pytest.fixture
def ends_with(monkeypatch: pytest.MonkeyPatch, mome: Any, tmp_path: Path) -> Any:
    """`mome schema`, ended by an error."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(error: BaseException) -> Any:
        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr("orchestrator.config.recipe.Recipe.model_json_schema", fails)
        return mome("schema")

    return run


def test_a_fault_is_a_line_and_a_file(ends_with: Any, tmp_path: Path) -> None:
    ended = ends_with(ZeroDivisionError("odd"))
    (file,) = tmp_path.glob("mome-*.txt")
    assert ended.code == 1
    where = rf"\({re.escape(__file__)}:\d+\)"  # code that is not the product's: somebody's plug-in
    fault = rf"mome: ZeroDivisionError: odd {where} \(a fault of the program; traceback: {re.escape(str(file))}\)\n"
    assert re.fullmatch(fault, ended.err)
    assert "line" in file.read_text()
    assert "in fails" in file.read_text()


def test_its_traceback_is_printed_where_that_is_asked_for(ends_with: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOME_TRACEBACK", "1")
    ended = ends_with(ZeroDivisionError("odd"))
    assert "in fails" in ended.err
    assert ended.err.splitlines()[-1].startswith("mome: ZeroDivisionError: odd (")


@pytest.mark.parametrize(
    ("error", "code"),
    [(RecipeError("wrong", "here", "that"), 2), (FaultError("stage a: KeyError: 'x'", "/a/b.txt"), 1)],
    ids=["mistake", "fault in a stage"],
)
def test_errors_of_ours_are_printed_as_they_are(ends_with: Any, error: Exception, code: int, tmp_path: Path) -> None:
    ended = ends_with(error)
    assert (ended.code, ended.err) == (code, f"mome: {error}\n")
    assert not list(tmp_path.iterdir())


def test_several_failures_with_a_fault_among_them_end_with_1(ends_with: Any) -> None:
    error = StageFailedError("stage a failed: …\nstage b failed: …")
    error.exit_code = 1
    assert ends_with(error).code == 1


def test_a_terminal_that_lacks_characters(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    code = "import sys; from orchestrator.cli.main import main; sys.argv[0] = 'mome'; main()"
    command = [sys.executable, "-c", code, "logs", "Œuvre", "--runs", str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, "no run '?uvre'" in ended.stderr) == (2, True)


def test_a_command_s_end_does_not_go_through_all_that_was_imported() -> None:
    """With Ray and MLflow that took a process seconds; what is frozen is left alone."""
    shows = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000))"
    script = f"{shows}; from orchestrator.cli.ending import run_to_its_end; run_to_its_end(int)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "True\n"
