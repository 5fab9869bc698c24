from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from orchestrator.training.strategies._extension import sole_builder

HOLD = """
import time
from orchestrator.training.strategies._extension import sole_builder
with sole_builder("thing"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))


def test_what_a_killed_build_left_does_not_stop_the_next(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        (tmp_path / "thing" / "lock").touch()
        holder.send_signal(signal.SIGKILL)
    with sole_builder("thing") as built:
        assert not built
        assert not (tmp_path / "thing" / "lock").exists()


def test_says_what_was_built_before(tmp_path):
    with sole_builder("thing"):
        (tmp_path / "thing" / "thing.so").touch()
    with sole_builder("thing") as built:
        assert built
