"""The description of a cluster: Ray's cluster file, or KubeRay's RayCluster, RayJob or RayService."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import ResourceError
from orchestrator.nodes import Cluster, Node
from orchestrator.plugins import near, suggest

KEYS = "cluster_name max_workers upscaling_speed idle_timeout_minutes provider auth docker head_node_type file_mounts \
cluster_synced_files file_mounts_sync_continuously rsync_exclude rsync_filter metadata initialization_commands \
setup_commands head_setup_commands worker_setup_commands head_start_ray_commands worker_start_ray_commands no_restart \
available_node_types"
"""Of a cluster file."""
PROVIDER_KEYS = "type region module head_ip worker_ips use_internal_ips namespace location resource_group tags \
subscription_id msi_identity_id msi_identity_principal_id subnet_id autoscaler_service_account autoscaler_role \
autoscaler_role_binding cache_stopped_nodes availability_zone project_id security_group disable_node_updaters \
gcp_credentials cloudwatch aws_credentials coordinator_address external_head_ip use_external_head_ip \
cluster_unique_id access_key access_key_secret key_name env_vars vsphere_config list_of_node_ips project_name \
launch_multiple v_switch_id security_group_id shared_volume_dir subnet nsg msi msi_name msi_resource_group image"
"""Of its provider. A provider may have others of its own; one that looks like one of these is misspelt."""
AUTH_KEYS = "ssh_user ssh_public_key ssh_private_key ssh_proxy_command ssh_proxy_use_node_id"
KIND_KEYS = "node_config min_workers max_workers idle_timeout_s priority resources labels initialization_commands \
worker_setup_commands docker"
"""Of a node type in one."""
GROUP_KEYS = "groupName replicas minReplicas maxReplicas numOfHosts rayStartParams template scaleStrategy suspend \
idleTimeoutSeconds resources labels serviceType headService enableIngress"
"""Of a group of KubeRay's."""
_CLUSTER_SPECS = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
_UNITS: dict[str, float] = {unit: 1000.0**power for power, unit in enumerate(("", "k", "M", "G", "T", "P"))}
_UNITS |= {f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTP", start=1)} | {"m": 1e-3}
_HEAD, _WORKER = "head", "worker"
_NO_TYPES = "name the types of nodes with their resources, or --num-cpus and --num-gpus in the nodes' `ray start`"


@dataclass(frozen=True)
class NodeKind:
    """A type of node; `most` is how many of it there may be."""

    node: Node
    most: int


@dataclass(frozen=True)
class ClusterFile:
    """A described cluster.

    Attributes:
        file: that describes it.
        kinds: types of nodes by name, the head's among them.
        head: the head's type, of which there is one node in any case.
        most: workers of all types together; None: as many as the types allow.
        document: as Ray reads it; None: it is KubeRay's.
    """

    file: Path
    kinds: Mapping[str, NodeKind]
    head: str
    most: int | None
    document: Mapping[str, Any] | None

    def largest(self, accelerated: bool) -> Cluster:
        """The cluster with as many nodes as it may have.

        Of the types that may be taken, those with GPUs come first where a run is to use them, and last otherwise; then
        those with most CPUs; of two alike the one whose name sorts last, as Ray's autoscaler has it.

        Args:
            accelerated: the run is to use GPUs.
        """

        def key(kind: NodeKind) -> tuple[float, float, str]:
            return kind.node.gpus if accelerated else -kind.node.gpus, kind.node.cpus, kind.node.kind

        nodes = [self.kinds[self.head].node]
        left = self.most
        for kind in sorted(self.kinds.values(), key=key, reverse=True):
            count = kind.most if left is None else min(kind.most, left)
            left = None if left is None else left - count
            nodes += [kind.node] * count
        return Cluster(tuple(node for node in nodes if node.works), str(self.file))


def read_cluster(file: Path) -> ClusterFile:
    """Read the description of a cluster.

    Raises:
        ResourceError: it can't be read, is no description of a cluster, or has a key that there is not.
    """
    try:
        documents = [each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise ResourceError(f"the cluster file can't be read: {error}", str(file), "give the path of one") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = " ".join(str(error).split())
        raise ResourceError(f"the cluster file is no YAML: {first}", str(file), "mend it there") from None
    mappings = [each for each in documents if isinstance(each, dict)]
    for each in mappings:
        if str(each.get("kind")) in _CLUSTER_SPECS:
            return _kuberay(file, each)
    if len(mappings) == 1 and {"cluster_name", "provider", "available_node_types"} & mappings[0].keys():
        return _ray(file, mappings[0])
    fix = "give a file as Ray's `ray up` takes it (cluster.yaml), or KubeRay's RayCluster, RayJob or RayService"
    raise ResourceError("this is no description of a cluster", str(file), fix)


def _ray(file: Path, document: Mapping[str, Any]) -> ClusterFile:
    _known(file, "", document, KEYS)
    _known(file, "auth", document.get("auth", {}), AUTH_KEYS)
    _well_spelt(file, "provider", document.get("provider"), PROVIDER_KEYS.split())
    types = document.get("available_node_types")
    if not isinstance(types, dict) or not types:
        return _started(file, document)
    head = str(document.get("head_node_type"))
    if head not in types:
        hint = suggest(head, map(str, types))
        raise ResourceError(f"there is no node type {head!r}", f"{file}: head_node_type", hint)
    most = _count(f"{file}: max_workers", document.get("max_workers", 2))
    kinds = {}
    for name, each in types.items():
        where = f"available_node_types.{name}"
        _known(file, where, each, KIND_KEYS)
        has = each.get("resources")
        _known(file, f"{where}.resources", has, None)
        shape = [_amount(f"{file}: {where}.resources.{key}", has.get(key, 0)) for key in ("CPU", "GPU", "memory")]
        count = _count(f"{file}: {where}.max_workers", each.get("max_workers", 0 if name == head else most))
        kinds[str(name)] = NodeKind(Node(shape[0], shape[1], int(shape[2]), str(name)), count)
    return ClusterFile(file, kinds, head, most, document)


def _started(file: Path, document: Mapping[str, Any]) -> ClusterFile:
    """A cluster of machines that are there: what each of them gives stands in its `ray start`."""
    kinds, most = {}, _count(f"{file}: max_workers", document.get("max_workers", 2))
    for name, count in ((_HEAD, 0), (_WORKER, most)):
        commands = " ".join(map(str, document.get(f"{name}_start_ray_commands") or ()))
        found = [re.search(rf"--num-{kind}[= ](\d+)", commands) for kind in ("cpus", "gpus")]
        if None in found:
            what = "the cluster file does not say what its machines have"
            raise ResourceError(what, f"{file}: available_node_types", _NO_TYPES)
        cpus, gpus = (float(each[1]) for each in found if each)
        kinds[name] = NodeKind(Node(cpus, gpus, 0, name), count)
    return ClusterFile(file, kinds, _HEAD, most, document)


def _kuberay(file: Path, document: Mapping[str, Any]) -> ClusterFile:
    place, spec = "spec", document.get("spec")
    for key in _CLUSTER_SPECS[str(document["kind"])]:
        place, spec = f"{place}.{key}", spec.get(key) if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(spec.get("headGroupSpec"), dict):
        raise ResourceError("the group of the head is missing", f"{file}: {place}.headGroupSpec", "describe it there")
    kinds = {_HEAD: NodeKind(_pod(file, f"{place}.headGroupSpec", spec["headGroupSpec"], _HEAD), 0)}
    for number, group in enumerate(spec.get("workerGroupSpecs") or ()):
        where = f"{place}.workerGroupSpecs[{number}]"
        _known(file, where, group, GROUP_KEYS)
        name = str(group.get("groupName", f"group {number}"))
        scales = spec.get("enableInTreeAutoscaling")
        wanted = group.get("maxReplicas", group.get("replicas", 0)) if scales else group.get("replicas", 0)
        hosts = _count(f"{file}: {where}.numOfHosts", group.get("numOfHosts", 1))
        most = _count(f"{file}: {where}.maxReplicas", wanted) * hosts
        kinds[name] = NodeKind(_pod(file, where, group, name), most)
    return ClusterFile(file, kinds, _HEAD, None, None)


def _pod(file: Path, where: str, group: Mapping[str, Any], kind: str) -> Node:
    """What Ray counts of a pod: what `rayStartParams` or `resources` tell it, else its container's limits."""
    _known(file, where, group, GROUP_KEYS)
    try:
        container = group["template"]["spec"]["containers"][0].get("resources") or {}
        limits = {**(container.get("requests") or {}), **(container.get("limits") or {})}
        told, params = dict(group.get("resources") or {}), dict(group.get("rayStartParams") or {})
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        place = f"{file}: {where}.template.spec.containers"
        raise ResourceError("no container whose resources can be read", place, "see deploy/kuberay for one") from None

    def amount(start: str, resource: str, limit: str) -> float:
        value = params.get(start, told.get(resource, limits.get(limit, 0)))
        return _amount(f"{file}: {where}, {limit}", value)

    gpu = next((key for key in limits if str(key).endswith("/gpu")), "nvidia.com/gpu")
    cpus = math.ceil(amount("num-cpus", "CPU", "cpu"))  # as KubeRay tells Ray
    return Node(cpus, amount("num-gpus", "GPU", gpu), int(amount("memory", "memory", "memory")), kind)


def _known(file: Path, where: str, mapping: Any, known: str | None) -> None:
    """Make sure that something is a mapping with known keys; None: any but misspelt names of Ray's resources."""
    place = f"{file}: {where}".removesuffix(": ")
    if not isinstance(mapping, dict):
        raise ResourceError("a mapping is missing", place, "see cluster.yaml for one")
    for key in mapping:
        meant = {"cpu": "CPU", "cpus": "CPU", "gpu": "GPU", "gpus": "GPU"}.get(str(key).lower(), key)
        if known is None and meant != key:
            raise ResourceError(f"Ray counts no {key!r}", place, f'did you mean "{meant}"?')
        if known is not None and key not in (names := known.split()):
            hint = near(str(key), names) or f"known: {', '.join(names)}"
            raise ResourceError(f"there is no key {str(key)!r}", place, hint)


def _well_spelt(file: Path, where: str, mapping: Any, known: Sequence[str]) -> None:
    """Make sure that no key of a mapping, which may have keys of its own, is nearly a known one."""
    for key in mapping if isinstance(mapping, dict) else ():
        meant = difflib.get_close_matches(str(key), known, n=1, cutoff=0.8)
        if meant and key not in known:
            raise ResourceError(f"there is no key {str(key)!r}", f"{file}: {where}", f'did you mean "{meant[0]}"?')


def _count(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ResourceError(f"{value!r} is no number of nodes", where, "give a whole number, 0 or more")
    return value


def _amount(where: str, value: Any) -> float:
    """A number, or one with a unit as Kubernetes writes it: "500m", "16Gi"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(value).strip())
    if found is None or found[2] not in _UNITS:
        raise ResourceError(f"{value!r} is no amount", where, 'give a number, or "500m", "16Gi"')
    return float(found[1]) * _UNITS[found[2]]
