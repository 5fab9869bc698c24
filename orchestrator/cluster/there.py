"""What is there of the cluster in use: nodes that work, and of those what others leave free."""

from __future__ import annotations

from collections.abc import Mapping

import ray


def cluster_nodes() -> list[tuple[float, float]]:
    """CPUs and GPUs of each node that works; one that is about to be taken away does not count."""
    leaving = leaving_nodes()
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
    found = [(float(resources.get("CPU", 0)), float(resources.get("GPU", 0))) for resources in alive]
    return [node for node in found if any(node)]


def cluster_size() -> tuple[float, float]:
    """CPUs and GPUs of all nodes that work."""
    cpus, gpus = zip(*(cluster_nodes() or [(1.0, 0.0)]), strict=True)
    return sum(cpus), sum(gpus)


def working_nodes() -> set[str]:
    """Ids of the nodes that work."""
    there = [node for node in ray.nodes() if node["Alive"]]
    return {node["NodeID"] for node in there if any(node["Resources"].get(kind, 0) > 0 for kind in ("CPU", "GPU"))}


def leaving_nodes() -> set[str]:
    """Ids of nodes that a cloud or a person is about to take away. Ray has no public way to ask."""
    return set(ray._private.state.state.get_draining_nodes() or {})


def held_by_others(needed: Mapping[str, float]) -> str:
    """What a cluster has as much of as is needed, and not free, in words; "": nothing."""
    there, free = ray.cluster_resources(), ray.available_resources()
    held = [f"{need:g} {kind}s" for kind, need in needed.items() if free.get(kind, 0) < need <= there.get(kind, 0)]
    return f"{' and '.join(held)} of the cluster, which others hold" if held else ""
