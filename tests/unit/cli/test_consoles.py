"""How wide tables are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PLAN = ["run", "quickstart", "--plan", "--local"]


@pytest.mark.parametrize(("columns", "whole"), [("", True), ("40", False)])
def test_a_plan_in_a_pipe_is_whole_unless_a_width_is_asked_for(columns: str, whole: bool, tmp_path: object) -> None:
    command = [sys.executable, "-m", "orchestrator.cli.main", *PLAN, "--runs", str(tmp_path)]
    told = subprocess.run(
        command, env={**os.environ, "COLUMNS": columns}, capture_output=True, text=True, check=True
    ).stdout
    (heading,) = (line for line in told.splitlines() if line.strip().startswith("stage"))
    assert (heading.split() == ["stage", "state", "params", "tokens", "FLOPs", "memory", "disk", "time"]) == whole
