"""A cluster that does not let a shell in: what is said, on a real one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import started

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(300)]
JOIN = """
from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError
try:
    with session(ResourcesConfig()):
        print("joined")
except ResourceError as error:
    print(error)
"""
ASK = """
import os
from orchestrator.cluster.shapes import ask
from orchestrator.errors import ResourceError
try:
    print(ask(os.environ["RAY_ADDRESS"]))
except ResourceError as error:
    print(error)
"""
OLDER = """
import json, os
from ray._raylet import GcsClient
client, there = GcsClient(address=os.environ["RAY_ADDRESS"]), (b"CLUSTER_METADATA", b"cluster")
found = {**json.loads(client.internal_kv_get(*there)), "ray_version": "2.9.3", "python_version": "3.10.4"}
client.internal_kv_put(there[0], json.dumps(found).encode(), True, there[1])
"""


@pytest.fixture(scope="module")
def shell() -> Iterator[dict[str, str]]:
    """The environment of a shell that may use a cluster."""
    with started([{"num_cpus": 1}]) as environment:
        yield environment


def said(program: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


@pytest.mark.parametrize("program", [JOIN, ASK], ids=["run", "plan"])
def test_another_token_is_told_as_that(program: str, shell: dict[str, str]) -> None:
    told = said(program, {**shell, "RAY_AUTH_TOKEN": "a" * 64})
    assert "another one than the cluster" in told
    assert f"RAY_ADDRESS={shell['RAY_ADDRESS']}" in told
    assert "RAY_AUTH_MODE=token" in told


@pytest.mark.parametrize("program", [JOIN, ASK], ids=["run", "plan"])
def test_a_missing_token_is_told_as_that(program: str, shell: dict[str, str], tmp_path: Path) -> None:
    """Ray's own client aborts the process then."""
    without = {**shell, "RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)}
    assert f"is missing: No such file or directory\n  where: {tmp_path / '.ray'}" in said(program, without)
    del without["RAY_AUTH_MODE"]
    assert "this shell has no token" in said(program, without)


@pytest.mark.parametrize("program", [JOIN, ASK], ids=["run", "plan"])
def test_a_token_that_others_can_read_is_refused(program: str, shell: dict[str, str], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(shell["RAY_AUTH_TOKEN"])
    environment = {name: value for name, value in shell.items() if name != "RAY_AUTH_TOKEN"}
    environment["RAY_AUTH_TOKEN_PATH"] = str(token)
    token.chmod(0o640)
    assert f"others can read the token of the Ray cluster\n  where: {token}\n  next:  chmod 600" in said(
        program, environment
    )
    token.chmod(0o600)
    assert "others" not in said(program, environment)


def test_other_versions_at_the_other_end_are_named(shell: dict[str, str]) -> None:
    """The last test: it changes what the cluster says of itself."""
    said(OLDER, shell)
    told = said(JOIN, shell)
    python = ".".join(map(str, sys.version_info[:3]))
    assert "the cluster has Ray 2.9.3 and Python 3.10.4; here are " in told
    assert f"and {python}\n" in told
    assert "same versions at both ends" in told
