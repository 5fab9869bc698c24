"""Where a node keeps what it has fetched of a run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("ray")

from orchestrator.cluster.away import _node_folder
from orchestrator.errors import ResourceError
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
