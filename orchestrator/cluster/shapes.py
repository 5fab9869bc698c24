"""What a running cluster has, asked for without becoming part of it, and what Ray says of a described one."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import ray.autoscaler
from ray._raylet import GcsClient  # type: ignore[attr-defined]

from orchestrator.cluster.joining import check_token, refused
from orchestrator.errors import ResourceError
from orchestrator.nodes import Cluster, Node

PATIENCE = 4.0
"""Seconds that a cluster has to answer: a plan takes ten at most."""
_ALIVE = 0
_FIX = "start the cluster, add --local to plan for this machine, or give --cluster FILE that describes one"


def ask(address: str) -> Cluster:
    """The nodes of the cluster at an address. Nothing is started there, no job is noted.

    Args:
        address: "host:port" of the head, as RAY_ADDRESS has it.

    Raises:
        ResourceError: nobody answers in time, or with another token, or the address is of another form.
    """
    where = f"RAY_ADDRESS={address}"
    host, _, port = address.rpartition(":")
    if "://" in address or not (host and port.isdigit()):
        raise ResourceError("a plan can ask a cluster at host:port alone", where, _FIX)
    check_token()
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
        found = GcsClient(address=address).get_all_node_info(timeout=PATIENCE)
    except Exception as error:  # Ray has no class for it: sockets, time-outs, an answer of something else
        raise refused(error, "the cluster can't be asked for its nodes", address, _FIX) from None
    nodes = [_node(info.resources_total) for info in found.values() if info.state == _ALIVE]
    working = sorted((node for node in nodes if node.works), key=lambda node: (node.gpus, node.cpus), reverse=True)
    return Cluster(tuple(working), where)


def check_schema(document: Mapping[str, Any], file: Path) -> None:
    """Make sure that a cluster file is as Ray's own schema has it.

    Raises:
        ResourceError: Ray would refuse it.
    """
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text("utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft7Validator(schema).iter_errors(document))
    if error is not None:
        where = ".".join(map(str, error.absolute_path))
        raise ResourceError(f"Ray refuses the cluster file: {error.message}", f"{file}: {where}".removesuffix(": "))


def _node(resources: Mapping[str, float]) -> Node:
    return Node(
        float(resources.get("CPU", 0)),
        float(resources.get("GPU", 0)),
        int(resources.get("memory", 0)),
    )
