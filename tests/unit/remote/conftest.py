"""Stores of tests: one on each kind of file system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.remote.store import RemoteStore
from tests.unit.remote.server import S3, served


@pytest.fixture(scope="session")
def server() -> Iterator[S3]:
    with served() as s3:
        yield s3


@pytest.fixture
def s3(server: S3) -> Iterator[S3]:
    """The server, as it should be."""
    server.requests.clear()
    yield server
    server.fails, server.failed, server.ignores_conditions, server.hear = 0.0, 0, False, lambda method, path: None


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: Any, tmp_path: Path) -> RemoteStore:
    if request.param == "s3":
        return request.getfixturevalue("s3").store(tmp_path.name)
    return RemoteStore(str(tmp_path / "store" if request.param == "file" else f"memory://{tmp_path.name}"))
