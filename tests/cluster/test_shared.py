"""Clusters of many nodes, without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ray")

from orchestrator.cluster.shared import check_shared
from orchestrator.errors import ResourceError


def test_a_folder_that_a_node_does_not_see_is_said_with_the_nodes_name(tmp_path: Path) -> None:
    check_shared(tmp_path)
    with pytest.raises(ResourceError, match=f"not there on node {os.uname().nodename}") as caught:
        check_shared(tmp_path / "elsewhere", patience=0.01)
    assert "--runs /FOLDER" in caught.value.fix


def test_a_folder_that_a_node_may_not_write_to_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ResourceError, match="can't be written to on node"):
        check_shared(tmp_path)
