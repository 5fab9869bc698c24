from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.training.strategies._extension import find_ninja, sole_builder

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


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("another", [True, False])
def test_finds_ninja_beside_python_before_any_other(tmp_path, monkeypatch, another):
    """One of another version would build again what this one has built, and the other way round."""
    ninja = executable(tmp_path / "venv" / "bin" / "ninja")
    if another:
        executable(tmp_path / "elsewhere" / "ninja")
    monkeypatch.setattr(sys, "executable", str(ninja.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    find_ninja()
    assert shutil.which("ninja") == str(ninja)
    assert os.environ["PATH"].endswith(f"{os.pathsep}{tmp_path / 'elsewhere'}")


@pytest.mark.parametrize("on_path", [True, False])
def test_leaves_the_path_where_ninja_is_elsewhere_alone_or_nowhere(tmp_path, monkeypatch, on_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    if on_path:
        executable(tmp_path / "elsewhere" / "ninja")
    find_ninja()
    assert os.environ["PATH"] == str(tmp_path / "elsewhere")


def test_says_what_was_built_before(tmp_path):
    with sole_builder("thing"):
        (tmp_path / "thing" / "thing.so").touch()
    with sole_builder("thing") as built:
        assert built
