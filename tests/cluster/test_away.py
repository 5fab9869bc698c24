"""Where a node keeps what it has fetched of a run."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray")

from orchestrator.cluster.away import Away, _node_folder, at_hand
from orchestrator.errors import ArtifactError, ResourceError
from orchestrator.remote.commits import Stored
from orchestrator.remote.store import RemoteStore


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = RemoteStore(str(tmp_path / "store"))
    ours = _node_folder(store).parent
    assert ours.stat().st_mode & 0o777 == 0o700
    assert ours.name == f"mome-away-{os.getuid()}"
    ours.chmod(0o777)
    with pytest.raises(ResourceError, match="others can write"):
        _node_folder(store)


def test_the_next_attempt_has_the_parts_that_a_killed_one_had_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = RemoteStore(str(tmp_path / "store"))
    away = Away(store, "attempts/cache-en", "first", {}, relay=None)

    def killed() -> None:
        with at_hand(away) as at:
            assert at.keep
            for name in ("1.bin", "2.bin"):
                part = at.work / "shards" / name
                part.parent.mkdir(exist_ok=True)
                part.write_text(name)
                at.keep(part)
            (at.work / "shards" / "half.bin").write_text("…")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    parts = tuple(name for name in store.artifacts() if name.place == "attempts/cache-en/parts/shards")
    with at_hand(replace(away, token="second", parts=parts)) as at:
        found = {path.name: path.read_text() for path in (at.work / "shards").iterdir() if path.is_file()}
        assert found == {"1.bin": "1.bin", "2.bin": "2.bin"}
        assert at.keep
        at.keep(at.work / "shards" / "1.bin")  # it is there: nothing is sent
    assert {(name.place, name.fingerprint) for name in store.artifacts()} == {
        *parts,
        ("attempts/cache-en/out", "second"),
    }


def test_a_step_that_was_made_again_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store, name = RemoteStore(str(tmp_path / "store")), Stored("stages/teacher", "f" * 64)
    away = Away(store, "attempts/cache-en", "", {"teacher": name}, relay=None)
    for number, text in enumerate(("first", "second")):
        made = tmp_path / text
        made.mkdir()
        (made / "weights").write_text(text)
        store.remove(*name)
        store.publish(*name, made)
        for token in (f"a{number}", f"b{number}"):  # the second one finds it at hand
            with at_hand(replace(away, token=token)) as at:
                assert (at.inputs["teacher"] / "weights").read_text() == text
    store.remove(*name)
    with pytest.raises(ArtifactError, match="stages/teacher is not in the store"), at_hand(away):
        pass
