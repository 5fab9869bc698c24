"""`mome export --push`: what the hub is given, and what is said where it can't be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.exports.hub import OTHER, TOKEN, Hub, serving

Export = Callable[..., Any]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving() as found:
        yield found


@pytest.fixture
def export(run: Path, tmp_path: Path, hub: Hub) -> Export:
    """The command in a process of its own: huggingface_hub reads its settings once."""

    def ended(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        own = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "COLUMNS": "400"}
        own |= {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, **settings}
        command = [sys.executable, "-m", "orchestrator.cli.main", "export", str(run), "--to", "hf"]
        command += ["--out", str(tmp_path / "out"), *arguments]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return subprocess.run(command, env=kept | own, capture_output=True, text=True)

    return ended


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_repository_has_every_file(export: Export, hub: Hub, tmp_path: Path) -> None:
    found = export("--expert", "es", "--push", "me/small-es")
    assert found.returncode == 0, found.stderr
    assert f"uploaded to {hub.address}/me/small-es" in found.stdout
    made = hub.repositories["me/small-es"]
    assert made["files"] == files(tmp_path / "out")
    assert {"config.json", "model.safetensors", "README.md", "tokenizer.json"} <= made["files"].keys()
    assert (made["visibility"], made["message"]) == ("private", "es of small, exported by MoME")
    again = export("--expert", "es", "--push", "small-es")  # one's own
    assert again.returncode == 0, again.stderr
    assert list(hub.repositories) == ["me/small-es"]


def test_all_experts_have_a_repository_each(export: Export, hub: Hub, tmp_path: Path) -> None:
    assert export("--all", "--push", "team/small", "--public").returncode == 0
    for name in ("en", "es"):
        made = hub.repositories[f"team/small-{name}"]
        assert made["visibility"] == "public"
        assert made["files"] == files(tmp_path / "out" / name)


@pytest.mark.parametrize(
    ("repository", "settings", "said"),
    [
        ("me/a/b", {}, "'me/a/b' is no name of a repository"),
        ("me/x", {"HF_TOKEN": ""}, "writing to the hub needs a token, and there is none"),
        ("me/x", {"HF_TOKEN": "hf_wrong"}, "the hub does not take the token"),
        ("me/x", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub can't be reached"),
        ("me/x", {"HF_HUB_OFFLINE": "1"}, "the hub can't be reached"),
    ],
)
def test_what_can_t_be_is_said_before_anything_is_exported(
    export: Export, tmp_path: Path, repository: str, settings: dict[str, str], said: str
) -> None:
    found = export("--expert", "es", "--push", repository, **settings)
    assert found.returncode == 2, found.stdout
    assert said in found.stderr
    assert "next:" in found.stderr
    assert not (tmp_path / "out").exists()


def test_a_token_that_may_not_write_leaves_the_folder(export: Export, hub: Hub, tmp_path: Path) -> None:
    found = export("--expert", "es", "--push", "me/x", HF_TOKEN=OTHER)
    assert found.returncode == 2
    assert "the hub does not let this token write to me/x" in found.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "me/x" not in hub.repositories
