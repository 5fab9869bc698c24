"""Processes forked from one that has imported what they need."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.deployments.forking import forking

pytest.importorskip("ray")
TELL = """
import json, os, sys
print(json.dumps({
    "arguments": sys.argv[1:], "parent": os.getppid(), "has": "torch" in sys.modules, "name": __name__,
    "folder": os.getcwd(), "TOLD": os.environ.get("TOLD"), "sent": sys.stdin.read(),
}), flush=True)
sys.stderr.write("an error\\n")
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with forking(tmp_path_factory.mktemp("parent")) as found:
        yield found


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "tell.py"
    path.write_text(TELL)
    return path


def run(command: str, script: Path, told: str, **environment: str) -> tuple[dict[str, object], str]:
    asked = [*shlex.split(command), str(script), "a b", "--c=d"]
    done = subprocess.run(
        asked, env={"TOLD": told, **environment}, cwd=script.parent, input="in", capture_output=True, text=True
    )
    return json.loads(done.stdout), done.stderr


@pytest.mark.timeout(120)
def test_a_fork_has_the_asker_s_command_files_environment_and_folder(command: str, script: Path) -> None:
    found, said = run(command, script, "one")
    again, _ = run(command, script, "two")
    assert found == {
        "arguments": ["a b", "--c=d"], "parent": again["parent"], "has": True, "name": "__main__",
        "folder": str(script.parent), "TOLD": "one", "sent": "in",
    }  # fmt: skip
    assert again["TOLD"] == "two"
    assert said == "an error\n"


def test_what_a_fork_could_not_read_again_makes_it_a_process_of_its_own(command: str, script: Path) -> None:
    found, _ = run(command, script, "one", RAY_JOB_ID="02000000")
    assert (found["has"], found["arguments"], found["TOLD"]) == (False, ["a b", "--c=d"], "one")


def test_without_a_parent_the_asker_becomes_the_process(script: Path, tmp_path: Path) -> None:
    with forking(tmp_path) as command:
        pass
    found, said = run(command, script, "one")
    assert (found["has"], found["sent"], said) == (False, "in", "an error\n")
