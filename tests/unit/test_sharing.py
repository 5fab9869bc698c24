"""Tests that processes share: every report arrives, a file stays in one process, a process that dies is told."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
import os
import pytest
from tests.sharing import run_shared

def pytest_runtestloop(session):
    run_shared(session, 2, lambda item: item.path.name.partition("_of_")[0])
    return True

@pytest.fixture(scope="session", autouse=True)
def process(request):
    file = request.config.rootpath / f"{os.getpid()}.txt"
    file.write_text("")
    yield file
    file.write_text(file.read_text() + "ended")
"""
WRITES = """
import os, time, warnings
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it(number, process, tmp_path):
    print("printed by", __name__, number)
    process.write_text(process.read_text() + f"{__name__} {number} {tmp_path}\\n")
    time.sleep(0.1)
    warnings.warn("be warned") if number == 2 else None
    assert number != 1 or "fails" not in __name__
"""


def run(folder: Path, *options: str, **files: str) -> str:
    """What pytest says of such files."""
    for name, text in {"conftest": CONFTEST, **files}.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]")
    options = (*options, "--color=no", f"--basetemp={folder / 'temporary'}")
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def test_every_report_arrives_and_what_belongs_together_stays_in_one_process(tmp_path: Path) -> None:
    said = run(tmp_path, test_first=WRITES, test_fails=WRITES, test_pair_of_a=WRITES, test_pair_of_b=WRITES)
    assert re.search(r"1 failed, 11 passed, 4 warnings in", said)
    assert said.count("UserWarning: be warned") == 4
    captured = said.partition("Captured stdout")[2]
    assert "printed by test_fails 1" in captured
    assert captured.count("printed by") == 1
    told = [file.read_text() for file in tmp_path.glob("*.txt")]
    assert len(told) == 2
    assert all(text.endswith("ended") for text in told)
    lines = [[line.split() for line in text.splitlines()[:-1]] for text in told]
    modules = [list(dict.fromkeys(module.partition("_of_")[0] for module, *_ in each)) for each in lines]
    assert sorted(itertools.chain(*modules)) == ["test_fails", "test_first", "test_pair"]
    assert len({place for each in lines for *_, place in each}) == 12


def test_a_process_that_dies_fails_the_tests_that_were_left_to_it_alone(tmp_path: Path) -> None:
    dies = "import os\ndef test_fine(): pass\ndef test_dies(): os._exit(3)\ndef test_left(): pass\n"
    said = run(tmp_path, test_dies=dies, test_first=WRITES, test_second=WRITES)
    assert "2 failed, 7 passed" in said
    assert said.count("the process of this file's tests ended, with 3") >= 2
    assert "test_dies.py::test_left" in said


@pytest.mark.parametrize("option", ["-x", "--maxfail=1"])
def test_it_stops_at_a_failure_where_asked_to(tmp_path: Path, option: str) -> None:
    slow = "import time\nimport pytest\n@pytest.mark.parametrize('n', range(99))\ndef test_it(n): time.sleep(0.3)\n"
    said = run(tmp_path, option, test_fails=WRITES, test_slow=slow)
    assert "stopping after 1 failures" in said
