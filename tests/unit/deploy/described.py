"""What the files by which a cluster is started say: Ray's cluster files, KubeRay's manifests, SkyPilot's task."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CLUSTERS = [ROOT / "cluster.yaml", ROOT / "deploy/gcp.yaml", ROOT / "deploy/on-premises.yaml"]
KUBERAY = sorted((ROOT / "deploy/kuberay").rglob("*.yaml"))
SKYPILOT = ROOT / "deploy/skypilot.yaml"
DOCKERFILE = ROOT / "deploy/Dockerfile"
ALL = [*CLUSTERS, *KUBERAY, SKYPILOT, DOCKERFILE]

Node = tuple[float, float]
"""CPUs and GPUs."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def manifests() -> dict[str, dict[str, Any]]:
    """What stands in KubeRay's folder, by "Kind/name"; kustomize's own files aside."""
    documents = [d for path in KUBERAY for d in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    ours = [d for d in documents if "kustomize" not in d["apiVersion"]]
    return {f"{d['kind']}/{d['metadata']['name']}": d for d in ours}


def ray_specs() -> dict[str, dict[str, Any]]:
    """The Ray cluster of each manifest that has one, by the manifest's kind."""
    places = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
    found = {}
    for manifest in manifests().values():
        spec = manifest["spec"] if manifest["kind"] in places else None
        for key in places.get(manifest["kind"], ()):
            spec = spec[key]
        if spec:
            found[manifest["kind"]] = spec
    return found


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates of a Ray cluster: that of the head, then those of the workers."""
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def commands(config: dict[str, Any]) -> Iterator[str]:
    """What a cluster file has its nodes type."""
    for key, lines in config.items():
        if key.endswith("_commands"):
            yield from lines


def option(command: str, named: str) -> float:
    return float(re.search(rf"--{named}=(\d+)", command)[1])


def of_a_cluster_file(config: dict[str, Any]) -> tuple[Node, Node, int]:
    """The head, a worker, and how many workers there are at most."""
    head = next(line for line in config["head_start_ray_commands"] if "ray start" in line)
    worker = next(line for line in config["worker_start_ray_commands"] if "ray start" in line)
    told = (option(head, "num-cpus"), option(head, "num-gpus"))
    if "available_node_types" not in config:
        return told, (option(worker, "num-cpus"), option(worker, "num-gpus")), config["max_workers"]
    kinds = {key: kind["resources"] for key, kind in config["available_node_types"].items()}
    at_head = kinds.pop(config["head_node_type"])
    assert told == (at_head["CPU"], at_head["GPU"])
    (shape,) = {(kind["CPU"], kind["GPU"]) for kind in kinds.values()}
    return told, shape, config["max_workers"]


def of_a_ray_spec(spec: dict[str, Any]) -> tuple[Node, Node, int]:
    """The same of a manifest, as KubeRay starts Ray: by `rayStartParams`, and else by the limits."""
    params = spec["headGroupSpec"]["rayStartParams"]
    (group,) = spec["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    shape = (float(limits["cpu"]), float(limits["nvidia.com/gpu"]))
    return (float(params["num-cpus"]), float(params["num-gpus"])), shape, group["maxReplicas"]


def of_skypilot(task: dict[str, Any]) -> tuple[Node, Node, int]:
    """One machine, and no head beside it."""
    (gpus,) = {kind["accelerators"].partition(":")[2] for kind in task["resources"]["ordered"]}
    return (0.0, 0.0), (float(task["resources"]["cpus"].removesuffix("+")), float(gpus)), task.get("num_nodes", 1)


def shapes() -> dict[str, tuple[Node, Node, int]]:
    """The head, a worker and the most workers of every description."""
    clusters = {name(path): of_a_cluster_file(load(path)) for path in CLUSTERS}
    kubernetes = {kind: of_a_ray_spec(spec) for kind, spec in ray_specs().items()}
    return {**clusters, **kubernetes, name(SKYPILOT): of_skypilot(load(SKYPILOT))}
