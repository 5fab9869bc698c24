"""What --help says, and that it comes at once."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from orchestrator.cli.main import app

HEAVY = ("torch", "ray", "transformers", "mlflow", "sklearn", "pyarrow", "numpy")


def commands() -> list[tuple[str, ...]]:
    tree = typer.main.get_command(app)
    found: list[tuple[str, ...]] = []
    shown = {name: command for name, command in tree.commands.items() if not command.hidden}  # type: ignore[attr-defined]
    for name, command in shown.items():  # others are further names of these
        inner = getattr(command, "commands", None)
        found += [(name, each) for each in inner] if inner else [(name,)]
    return found


@pytest.mark.parametrize(
    ("command", "heavy"),
    [((), (*HEAVY, "pydantic")), (("run",), HEAVY)],  # typer itself reads the types of arguments with pydantic
    ids=["mome", "run"],
)
def test_help_imports_nothing_heavy(command: tuple[str, ...], heavy: tuple[str, ...]) -> None:
    program = (
        "import json, sys\n"
        f"sys.argv = ['mome', *{command!r}, '--help']\n"
        "from orchestrator.cli.main import main\n"
        "try:\n    main()\n"
        f"finally:\n    print(json.dumps([name for name in {heavy!r} if name in sys.modules]), file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage: mome" in ended.stdout
    assert json.loads(ended.stderr) == []


def test_there_are_the_commands_people_are_told_of() -> None:
    names = {" ".join(command) for command in commands()}
    assert {"run", "sweep", "show", "report", "generate", "bench", "doctor", "schema"} <= names
    assert {"data build", "data inspect", "data export"} <= names
    assert {"serve run", "serve add", "serve remove", "serve use", "serve status"} <= names


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_shows_an_example(mome, command: tuple[str, ...]) -> None:
    ended = mome(*command, "--help")
    assert ended.code == 0
    text = ended.out.partition("Example")[2]
    assert f"mome {' '.join(command)}" in text
    assert max(map(len, ended.out.splitlines())) <= 80


def test_no_command_prints_the_help(mome) -> None:
    assert "Usage: mome" in (ended := mome()).out + ended.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("serve", "a", "--port", "99999"), "--port"),
        (("run", "a.yaml", "--strict", "--accept"), "--strict makes again"),
        (("run", "a.yaml", "--plan", "--accept"), "--plan changes nothing"),
    ],
)
def test_options_that_make_no_sense(mome: Any, command: tuple[str, ...], said: str) -> None:
    ended = mome(*command)
    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())  # however wide the terminal is
