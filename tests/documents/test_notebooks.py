"""The notebooks of the site: the second reads what the first has made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "docs/notebooks"


def executed(name: str, folder: Path) -> str:
    """What a notebook prints in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, NOTEBOOKS / f"{name}.py"]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.timeout(500)
def test_a_language_is_distilled_and_its_report_is_read(tmp_path):
    distilled = executed("distil_your_language", tmp_path)
    assert "expert-fr" in distilled
    assert distilled.rstrip().splitlines()[-1].startswith("to run again: ")
    assert "teacher" not in distilled.rstrip().splitlines()[-1]
    read = executed("read_a_report", tmp_path)
    assert "fr" in read
    assert (tmp_path / "runs/notebook/report/index.html").is_file()
