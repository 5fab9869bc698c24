"""Joining the cluster that RAY_ADDRESS names, and what to do where it does not let us."""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError

from orchestrator.cluster.handlers import kept_handler
from orchestrator.errors import ResourceError

_KNOCK_SECONDS = 10.0
_GRPC_SETTINGS = b"\x04"
_GRPC_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _GRPC_SETTINGS + bytes(5)
"""HTTP/2's first words and its frame of settings, an empty one: gRPC answers with a frame of its own settings."""
_START = "start the cluster (ray start --head), or unset RAY_ADDRESS to use one of this run's own"
_TOKEN = (
    "set RAY_AUTH_MODE=token, and put the head's token into RAY_AUTH_TOKEN, or into ~/.ray/auth_token with mode 600"
)
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Be part of the cluster at an address for the time of the block.

    Raises:
        ResourceError: it is not there, has another token, or is of another version. See :func:`check_token` too.
    """
    check_token()
    try:
        _knock(address)
        with on_loopback() if _only_on_loopback(address) else nullcontext(), kept_handler():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise refused(error, "no Ray cluster can be reached", address, _START) from error
    try:
        yield
    finally:
        ray.shutdown()


def refused(error: Exception, what: str, address: str, otherwise: str) -> ResourceError:
    """Why a cluster does not let us in, and what to do.

    Args:
        error: Ray's. what: happened. address: of the cluster.
        otherwise: what to do where neither the token nor a version is at fault.
    """
    where = f"RAY_ADDRESS={address}"
    if isinstance(error, AuthenticationError):
        return ResourceError("this shell has no token for the cluster, or another one than the cluster", where, _TOKEN)
    if len(versions := _VERSIONS.findall(str(error))) == 2:
        (ray_there, python_there), (ray_here, python_here) = versions
        what = f"the cluster has Ray {ray_there} and Python {python_there}; here are {ray_here} and {python_here}"
        return ResourceError(what, where, "install the same versions at both ends: Ray takes no others")
    return ResourceError(f"{what}: {first_line(error)}", where, otherwise)


def first_line(error: Exception) -> str:
    """An error's class, and the first line that it says."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".removesuffix(": ")


def check_token() -> None:
    """Make sure that there is a token where one is to be used, and that nobody else can read its file.

    Ray's client ends the whole process where the token is missing. A file of another user is that user's to guard.

    Raises:
        ResourceError: the token is missing, or others can read it.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if os.environ.get("RAY_AUTH_TOKEN") or mode.lower() not in ("", "token"):
        return
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        facts = path.stat()
    except OSError as error:
        if mode:
            what = f"the token of the Ray cluster is missing: {error.strerror}"
            raise ResourceError(what, str(path), _TOKEN) from None
        return
    if facts.st_uid == os.getuid() and stat.S_IMODE(facts.st_mode) & 0o077:
        raise ResourceError("others can read the token of the Ray cluster", str(path), f"chmod 600 {path}")


def _knock(address: str) -> None:
    """Find out in seconds that no Ray listens at "host:port"; Ray itself tries for minutes.

    Raises:
        OSError: nobody does, or whoever does keeps silent, or speaks otherwise. AuthenticationError: it takes
            another token.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        return
    with socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=_KNOCK_SECONDS) as knocking:
        if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false"):
            return
        knocking.sendall(_GRPC_HELLO)
        answer = knocking.recv(9, socket.MSG_WAITALL)
    if answer[3:4] != _GRPC_SETTINGS:
        raise ConnectionError("what answers there is no Ray")
    GcsClient(address=address).get_all_node_info(timeout=_KNOCK_SECONDS)  # ray.init asks 20 times with a wrong token


def _only_on_loopback(address: str) -> bool:
    """Whether a Ray at "127.0.0.1:port" listens there alone: ray.init would look for it at the other address."""
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost"):
        return False
    try:
        with socket.create_connection((ray.util.get_node_ip_address(), int(port)), timeout=_KNOCK_SECONDS):
            return False
    except OSError:
        return True


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let a cluster be on this machine alone. ray.init has no argument for it: it replaces 127.0.0.1."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
