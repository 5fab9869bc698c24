"""`mome export --push`: what the hub is given, and what is said where it can't be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from orchestrator import load_run
from orchestrator.errors import MomeError
from tests.unit.exports.hub import OTHER, TOKEN, Hub, serving


@pytest.fixture(scope="module")
def serve() -> Iterator[Hub]:
    with serving() as found:
        yield found


@pytest.fixture
def hub(serve: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """With the settings that huggingface_hub reads of the environment when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", serve.address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return serve


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_repository_has_every_file(mome: Any, run: Path, hub: Hub, tmp_path: Path) -> None:
    asked = ("export", run, "--to", "hf", "--expert", "es", "--out", tmp_path / "out", "--push")
    found = mome(*asked, "me/small-es")
    assert found.code == 0, found.err
    assert f"uploaded to {hub.address}/me/small-es" in found.out
    made = hub.repositories["me/small-es"]
    assert made["files"] == files(tmp_path / "out")
    assert {"config.json", "model.safetensors", "README.md", "tokenizer.json"} <= made["files"].keys()
    assert (made["visibility"], made["message"]) == ("private", "es of small, exported by MoME")
    again = mome(*asked, "small-es")  # one's own
    assert again.code == 0, again.err
    assert list(hub.repositories) == ["me/small-es"]


def test_all_experts_have_a_repository_each(run: Path, hub: Hub, tmp_path: Path) -> None:
    made = load_run(run).export("hf", tmp_path / "out", every=True, push="team/small", public=True)
    assert made.pushed == [f"{hub.address}/team/small-{name}" for name in ("en", "es")]
    for name in ("en", "es"):
        kept = hub.repositories[f"team/small-{name}"]
        assert kept["visibility"] == "public"
        assert kept["files"] == files(tmp_path / "out" / name)


@pytest.mark.parametrize(
    ("repository", "token", "endpoint", "said"),
    [
        ("me/a/b", TOKEN, "", "'me/a/b' is no name of a repository"),
        ("me/x", "", "", "writing to the hub needs a token, and there is none"),
        ("me/x", "hf_wrong", "", "the hub does not take the token"),
        ("me/x", TOKEN, "http://127.0.0.1:9", "the hub can't be reached"),
    ],
)
def test_what_can_t_be_is_said_before_anything_is_exported(
    run: Path,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repository: str,
    token: str,
    endpoint: str,
    said: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    if endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    with pytest.raises(MomeError, match=said) as found:
        load_run(run).export("hf", tmp_path / "out", "es", push=repository)
    assert found.value.fix
    assert not (tmp_path / "out").exists()


def test_a_token_that_may_not_write_leaves_the_folder(
    mome: Any, run: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", OTHER)
    found = mome("export", run, "--to", "hf", "--expert", "es", "--out", tmp_path / "out", "--push", "me/x")
    assert found.code == 2
    assert "the hub does not let this token write to me/x" in found.err
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "me/x" not in hub.repositories
