"""What is installed: a small wheel of the code, with the sample corpus, and a wheel of the router's text beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.routers.text import shipped

pytestmark = pytest.mark.long

pytest.importorskip("setuptools", minversion="77")
ROOT = Path(__file__).parents[2]
LARGEST = 1_600_000
"""Bytes of the wheel."""
PACKAGES = ("orchestrator", "serve", "jobs")


def build(source: Path, out: Path) -> Path:
    """The wheel of a folder, built by the setuptools that is here: nothing is downloaded."""
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out))
    command = [sys.executable, "-m", "pip", "wheel", *options, "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    (wheel,) = out.glob("*.whl")
    return wheel


def unpacked(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of the code and of the router's text, from a copy of the files."""
    folder = tmp_path_factory.mktemp("wheels")
    copy = folder / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    return build(copy, folder / "code"), build(copy / "orchestrator" / "data" / "router", folder / "text")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on what is unpacked in `folder`, away from the clone."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_is_small(wheels: tuple[Path, Path]) -> None:
    assert wheels[0].stat().st_size <= LARGEST


def test_its_sample_corpus_is_that_of_a_clone(wheels: tuple[Path, Path], tmp_path: Path) -> None:
    folder = unpacked(wheels[0], tmp_path)
    script = (
        "import orchestrator; from orchestrator.corpus.sources.miniwiki import Miniwiki as M;"
        "print(orchestrator.__file__, M().fingerprint('de'), len(list(M().documents('de'))))"
    )
    place, fingerprint, count = run(folder, "-c", script).stdout.split()
    assert Path(place).is_relative_to(folder)
    assert (fingerprint, count) == (Miniwiki().fingerprint("de"), "120")
    assert not list(folder.rglob("*.jsonl"))


READ = "from orchestrator.routers.text.shipped import digest; print(digest())"


def test_the_router_s_text_is_found_where_its_wheel_puts_it(wheels: tuple[Path, Path], tmp_path: Path) -> None:
    folder = unpacked(wheels[1], unpacked(wheels[0], tmp_path))
    assert run(folder, "-c", READ).stdout.strip() == shipped.digest()


def test_without_it_a_plan_says_what_to_install(wheels: tuple[Path, Path], tmp_path: Path) -> None:
    folder = unpacked(wheels[0], tmp_path)
    command = ("-m", "orchestrator.cli.main", "run", "--plan", "--runs", str(tmp_path / "runs"))
    ended = run(folder, *command, str(ROOT / "jobs/recipes/quickstart.yaml"))
    assert ended.returncode == 2
    assert "mome_router_text" in " ".join(ended.stderr.split())
    ended = run(folder, *command, str(ROOT / "jobs/recipes/smoke.yaml"))
    assert ended.returncode == 0, ended.stderr


def test_both_wheels_together_hold_each_file_once(wheels: tuple[Path, Path]) -> None:
    code, text = (set(zipfile.ZipFile(wheel).namelist()) for wheel in wheels)
    assert not code & text
    of_text = {path.relative_to(ROOT).as_posix() for path in shipped.FOLDER.rglob("*.txt")}
    assert of_text <= text
