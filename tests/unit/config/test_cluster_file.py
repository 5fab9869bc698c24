"""Descriptions of clusters: what they allow at most, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from orchestrator.config.cluster_file import (
    AUTH_KEYS,
    GROUP_KEYS,
    KEYS,
    KIND_KEYS,
    PROVIDER_KEYS,
    ClusterFile,
    read_cluster,
)
from orchestrator.errors import ResourceError
from orchestrator.nodes import Node

ROOT = Path(__file__).parents[3]
RAY = """
cluster_name: c
provider: {type: aws}
max_workers: 3
head_node_type: head
available_node_types:
  head: {resources: {CPU: 2}, node_config: {}}
  big: {resources: {CPU: 16, GPU: 2, memory: 64000000000}, node_config: {}, max_workers: 2}
  small: {resources: {CPU: 4}, node_config: {}}
"""
KUBERAY = """
apiVersion: v1
kind: ConfigMap
---
apiVersion: ray.io/v1
kind: RayJob
spec:
  entrypoint: python
  rayClusterSpec:
    enableInTreeAutoscaling: true
    headGroupSpec:
      rayStartParams: {num-cpus: "0"}
      template: {spec: {containers: [{name: ray, resources: {limits: {cpu: "2", memory: 8Gi}}}]}}
    workerGroupSpecs:
      - groupName: gpu
        replicas: 1
        maxReplicas: 3
        rayStartParams: {}
        template:
          spec:
            containers: [{name: ray, resources: {limits: {cpu: 7500m, memory: 32Gi, nvidia.com/gpu: 1}}}]
"""


def read(folder: Path, text: str) -> ClusterFile:
    file = folder / "cluster.yaml"
    file.write_text(text)
    return read_cluster(file)


def test_as_many_nodes_as_the_file_allows(tmp_path: Path) -> None:
    found = read(tmp_path, RAY)
    head, big, small = Node(2, kind="head"), Node(16, 2, 64 * 10**9, "big"), Node(4, kind="small")
    assert found.largest(accelerated=True).nodes == (head, big, big, small)
    assert found.largest(accelerated=False).nodes == (head, small, small, small)


def test_the_head_that_only_directs_is_no_node() -> None:
    cluster = read_cluster(ROOT / "cluster.yaml").largest(accelerated=True)
    assert str(cluster) == "2 nodes: 2 x (48 CPUs, 4 GPUs)"
    assert {node.kind for node in cluster.nodes} == {"gpu-spot"}  # as Ray's autoscaler chooses of two alike


def test_kuberay(tmp_path: Path) -> None:
    found = read(tmp_path, KUBERAY)
    assert found.document is None
    assert found.largest(accelerated=True).nodes == (Node(8, 1, 32 * 2**30, "gpu"),) * 3
    fixed = KUBERAY.replace("enableInTreeAutoscaling: true", "enableInTreeAutoscaling: false")
    assert len(read(tmp_path, fixed).largest(accelerated=True).nodes) == 1


@pytest.mark.parametrize("file", sorted((ROOT / "deploy").rglob("*.yaml")), ids=lambda file: file.name)
def test_descriptions_that_ship_are_understood(file: Path) -> None:
    documents = [each for each in yaml.safe_load_all(file.read_text()) if isinstance(each, dict)]
    if not any(each.get("kind", "").startswith("Ray") or "cluster_name" in each for each in documents):
        pytest.skip("no description of a cluster")
    assert read_cluster(file).largest(accelerated=True).cpus > 0


@pytest.mark.parametrize(
    ("before", "after", "what", "where", "fix"),
    [
        ("max_workers: 3", "max_worker: 3", "'max_worker'", "", 'did you mean "max_workers"?'),
        ("node_config: {}, max", "node_confg: {}, max", "'node_confg'", "available_node_types.big", "node_config"),
        ("{CPU: 4}", "{cpu: 4}", "'cpu'", "available_node_types.small.resources", 'did you mean "CPU"?'),
        ("{CPU: 4}", "{CPU: many}", "'many' is no amount", "small.resources.CPU", "a number"),
        ("max_workers: 2", "max_workers: -2", "-2 is no number of nodes", "big.max_workers", "0 or more"),
        ("head_node_type: head", "head_node_type: haed", "'haed'", "head_node_type", 'did you mean "head"?'),
        ("{resources: {CPU: 4}, node_config: {}}", "3", "a mapping is missing", "small", ""),
        ("available_node_types:", "metadata:", "does not say what its machines have", "available_node_types", ""),
        (RAY, "a: [", "no YAML", "", ""),
        (RAY, "a: 1", "no description of a cluster", "", "cluster.yaml"),
        (RAY, "[1]", "no description of a cluster", "", "RayCluster"),
        (RAY, "", "no description of a cluster", "", ""),
        (RAY, KUBERAY.replace("maxReplicas", "maxReplica"), "'maxReplica'", "workerGroupSpecs[0]", "maxReplicas"),
        (RAY, KUBERAY.replace("headGroupSpec", "head"), "group of the head", "spec.rayClusterSpec.headGroupSpec", ""),
        (RAY, KUBERAY.replace("7500m", "7.5x"), "'7.5x' is no amount", "cpu", "500m"),
        (
            RAY,
            KUBERAY.replace("containers: [{name: ray, resources: {limits: {cpu: 7", "c: [{a: {b: {d: 7"),
            "no container",
            "",
            "",
        ),
        (RAY, KUBERAY.replace("limits: {cpu: 7500m", "limits: x, no: {cpu: 7"), "no container", "containers", ""),
        (RAY, KUBERAY.replace('rayStartParams: {num-cpus: "0"}', "rayStartParams: 3"), "no container", "headGr", ""),
        ("head_node_type: head", "head_node_type: [head]", "there is no node type", "head_node_type", "head"),
        ("provider:", "kind: [1]\nprovider:", "'kind'", "", "known"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, before: str, after: str, what: str, where: str, fix: str) -> None:
    assert before in RAY
    with pytest.raises(ResourceError) as refused:
        read(tmp_path, RAY.replace(before, after))
    assert what in refused.value.what
    assert "cluster.yaml" in refused.value.where
    assert where in refused.value.where
    assert fix in refused.value.fix


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="can't be read"):
        read_cluster(tmp_path / "none.yaml")


def test_the_keys_are_those_of_ray_s_schema() -> None:
    autoscaler = pytest.importorskip("ray.autoscaler")
    schema = json.loads((Path(autoscaler.__file__).parent / "ray-schema.json").read_text())
    properties = schema["properties"]
    assert set(AUTH_KEYS.split()) == properties["auth"]["properties"].keys()
    assert set(PROVIDER_KEYS.split()) >= properties["provider"]["properties"].keys()
    assert set(KEYS.split()) == schema["properties"].keys()
    kind = schema["properties"]["available_node_types"]["patternProperties"][".*"]
    assert set(KIND_KEYS.split()) == kind["properties"].keys()
    assert {"groupName", "template"} <= set(GROUP_KEYS.split())


def test_a_misspelt_key_of_the_provider_is_refused_and_one_of_its_own_is_not(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"no key 'regoin'[\s\S]*provider[\s\S]*\"region\""):
        read(tmp_path, RAY.replace("type: aws", "type: aws, regoin: eu"))
    with pytest.raises(ResourceError, match=r"no key 'ssh_usr'[\s\S]*auth[\s\S]*\"ssh_user\""):
        read(tmp_path, f"{RAY}auth: {{ssh_usr: ubuntu}}\n")
    assert read(tmp_path, RAY.replace("type: aws", "type: aws, colour: red")).head == "head"
