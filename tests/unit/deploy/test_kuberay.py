"""KubeRay's manifests: what its CRDs leave open, and what a cluster's administrator would refuse."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.described import DOCKERFILE, KUBERAY, ROOT, load, manifests, of_a_ray_spec, pods, ray_specs

MANIFESTS = manifests()
SPECS = ray_specs()
SERVICE = MANIFESTS["RayService/mome-serve"]
every_cluster = pytest.mark.parametrize("kind", SPECS)
every_pod = pytest.mark.parametrize(
    "pod",
    [
        *(pod for spec in SPECS.values() for pod in pods(spec)),
        MANIFESTS["RayJob/mome-paper"]["spec"]["submitterPodTemplate"],
    ],
    ids=[*(f"{kind} {part}" for kind in SPECS for part in ("head", "worker")), "submitter"],
)


def everything(value: Any) -> Iterator[Any]:
    """A value and all that lies in it, YAML in its texts too."""
    yield value
    if isinstance(value, str) and "\n" in value:
        value = yaml.safe_load(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from everything(item)


def amount(quantity: str) -> float:
    """Kubernetes' way to write one: 500m, 4, 16Gi."""
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", quantity).groups()
    return float(number) * {"": 1, "m": 1e-3, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[unit]


def test_kinds_are_of_the_versions_that_clusters_serve() -> None:
    assert {document["kind"]: document["apiVersion"] for document in MANIFESTS.values()} == {
        "RayCluster": "ray.io/v1",
        "RayJob": "ray.io/v1",
        "RayService": "ray.io/v1",
        "NetworkPolicy": "networking.k8s.io/v1",
        "PersistentVolumeClaim": "v1",
        "Namespace": "v1",
        "GatewayClass": "gateway.networking.k8s.io/v1",
        "ConfigMap": "v1",
    }
    homes = {document["metadata"].get("namespace") for document in MANIFESTS.values()}
    assert homes == {"mome", "istio-system", None}  # None: the namespace, and the class of gateways


def test_every_manifest_is_in_a_kustomization() -> None:
    """A run is deleted with its own: what holds all runs is in another, which none includes."""
    listed = set()
    for path in (path for path in KUBERAY if path.name == "kustomization.yaml"):
        content = load(path)
        listed |= {path.parent / resource for resource in content.get("resources", [])}
        assert content.get("components", []) == ([] if path.parent.name in ("shared", "image") else ["../image"])
    assert listed == {path for path in KUBERAY if path.name != "kustomization.yaml"}


@every_cluster
def test_rays_autoscaler_reads_it(kind: str) -> None:
    """It finds the shapes that the descriptions are compared by, and checks the rest by its own schema."""
    ray = pytest.importorskip("ray.autoscaler._private.kuberay.autoscaling_config")
    made = {"metadata": {"name": "mome", "namespace": "mome"}, "spec": SPECS[kind]}
    config = ray._derive_autoscaling_config_from_ray_cr(made)
    head, worker, most = of_a_ray_spec(SPECS[kind])
    shapes = {key: node["resources"] for key, node in config["available_node_types"].items()}
    assert (shapes["headgroup"]["CPU"], shapes["headgroup"].get("GPU", 0)) == head == (0, 0)
    assert (shapes["gpu"]["CPU"], shapes["gpu"]["GPU"]) == worker
    assert config["max_workers"] == most
    assert config["available_node_types"]["gpu"]["min_workers"] == {"RayService": 0}.get(kind, 1)
    assert config["idle_timeout_minutes"] == load(ROOT / "cluster.yaml")["idle_timeout_minutes"]


@every_cluster
def test_it_has_a_token_an_autoscaler_and_the_ray_that_is_installed(kind: str) -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]
    spec = SPECS[kind]
    assert spec["rayVersion"] == pinned
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["workerGroupSpecs"][0]["replicas"] == spec["workerGroupSpecs"][0]["minReplicas"]


@every_cluster
def test_its_parameters_are_options_of_ray_start(kind: str) -> None:
    start = pytest.importorskip("ray.scripts.scripts").start
    known = {opt for parameter in start.params for opt in parameter.opts}
    groups = (SPECS[kind]["headGroupSpec"], *SPECS[kind]["workerGroupSpecs"])
    for group in groups:
        assert {f"--{key}" for key in group["rayStartParams"]} <= known
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_three_clusters_are_one_description() -> None:
    def common(spec: dict[str, Any]) -> dict[str, Any]:
        """All but the number of workers that are kept, and what serving adds."""
        spec = yaml.safe_load(yaml.safe_dump(spec))
        for group in spec["workerGroupSpecs"]:
            del group["minReplicas"], group["replicas"]
        for pod in pods(spec):
            (container,) = pod["spec"]["containers"]
            ports = [port for port in container.pop("ports", []) if port["name"] != "serve"]
            container.pop("readinessProbe", None)
            container |= {"ports": ports} if ports else {}
        return spec

    first, *others = map(common, SPECS.values())
    assert len(others) == 2
    assert all(other == first for other in others)


@every_pod
def test_a_pod_has_no_privilege_and_a_measure(pod: dict[str, Any]) -> None:
    user = int(re.search(r"^USER (\d+):", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)[1])
    rights = pod["spec"]["securityContext"]
    assert (rights["runAsNonRoot"], rights["runAsUser"], rights["runAsGroup"]) == (True, user, user)
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert requests.keys() == limits.keys() >= {"cpu", "memory"}
    assert all(amount(requests[key]) <= amount(limits[key]) for key in limits)
    assert all(requests[key] == limits[key] for key in limits if "/" in key)  # as Kubernetes wants it of devices
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys()
    assert container["name"] == "ray-head" or pod["spec"]["automountServiceAccountToken"] is False


@every_cluster
def test_the_autoscaler_beside_the_head_has_no_privilege_either(kind: str) -> None:
    rights = SPECS[kind]["autoscalerOptions"]["securityContext"]
    assert rights == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert MANIFESTS["Namespace/mome"]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


@every_cluster
def test_its_pods_share_a_volume_that_many_may_write_to(kind: str) -> None:
    claim = MANIFESTS["PersistentVolumeClaim/mome"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(SPECS[kind]):
        (volume,) = pod["spec"]["volumes"]
        (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
        assert volume == {"name": mount["name"], "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
        assert mount["mountPath"] == "/mnt/mome"


@every_pod
def test_the_network_policy_holds_a_pod(pod: dict[str, Any]) -> None:
    policy = MANIFESTS["NetworkPolicy/mome"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_the_network_policy_lets_in_members_the_operator_and_the_gateway() -> None:
    policy = MANIFESTS["NetworkPolicy/mome"]["spec"]
    members, operator, gateway = policy["ingress"]
    assert policy["policyTypes"] == ["Ingress"]
    assert members == {"from": [{"podSelector": policy["podSelector"]}]}
    for rule in (operator, gateway):
        (peer,) = rule["from"]
        assert peer["podSelector"]
        assert {port["port"] for port in rule["ports"]} <= {8265, 8000}
    assert operator["from"][0]["namespaceSelector"]
    assert "namespaceSelector" not in gateway["from"][0]


def test_nothing_is_offered_outside_of_the_kubernetes_cluster() -> None:
    found = [value for value in everything(list(MANIFESTS.values())) if value in ("LoadBalancer", "NodePort")]
    assert found == []
    assert all(spec["headGroupSpec"]["serviceType"] == "ClusterIP" for spec in SPECS.values())
    assert not any(
        {"hostPort", "ingressOptions"} & value.keys() for value in everything(SPECS) if isinstance(value, dict)
    )
    gateways = MANIFESTS["ConfigMap/mome-gateways"]
    assert yaml.safe_load(gateways["data"]["service"]) == {"spec": {"type": "ClusterIP"}}
    served = MANIFESTS["GatewayClass/mome"]["metadata"]["name"]
    assert gateways["metadata"]["labels"] == {"gateway.istio.io/defaults-for-class": served}


def test_the_service_is_upgraded_in_steps_behind_the_gateway() -> None:
    strategy = SERVICE["spec"]["upgradeStrategy"]
    options = strategy["clusterUpgradeOptions"]
    assert strategy["type"] == "NewClusterWithIncrementalUpgrade"
    assert f"GatewayClass/{options['gatewayClassName']}" in MANIFESTS
    assert 0 < options["stepSizePercent"] <= options["maxSurgePercent"] <= 100
    assert options["intervalSeconds"] > 0


def test_the_service_is_one_that_serve_builds() -> None:
    schema = pytest.importorskip("ray.serve.schema")
    from serve.app import ServeArguments

    config = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    schema.ServeDeploySchema.model_validate(config)
    (application,) = config["applications"]
    (expected,) = load(ROOT / "serve/config.yaml")["applications"]
    assert {key: application[key] for key in application if key != "args"} == {
        key: expected[key] for key in expected if key != "args"
    }
    arguments = ServeArguments.model_validate(application["args"])
    _, (cpus, gpus), most = of_a_ray_spec(SPECS["RayService"])
    experts = 4  # of the paper
    assert arguments.max_replicas is not None  # the cluster grows
    assert arguments.expert_gpus * experts * arguments.max_replicas <= gpus * most
    own = arguments.expert_cpus * experts + arguments.router_cpus + arguments.ingress_cpus
    assert own * arguments.max_replicas <= cpus * most


def test_every_probe_and_port_of_the_service_is_serves() -> None:
    config = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    port = config["http_options"]["port"]
    for pod in pods(SPECS["RayService"]):
        (container,) = pod["spec"]["containers"]
        assert {"name": "serve", "containerPort": port} in container["ports"]
        assert container.get("readinessProbe", {"httpGet": {"port": port}})["httpGet"]["port"] == port
    assert "readinessProbe" in pods(SPECS["RayService"])[1]["spec"]["containers"][0]


def test_a_run_whose_head_is_lost_is_submitted_again_and_its_cluster_ends_with_it() -> None:
    spec = MANIFESTS["RayJob/mome-paper"]["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True


@pytest.mark.skipif("KUBERAY_CRDS" not in os.environ, reason="KUBERAY_CRDS names no folder of KubeRay's CRDs")
@pytest.mark.parametrize(
    "document", [key for key, document in MANIFESTS.items() if document["apiVersion"] == "ray.io/v1"]
)
def test_it_fits_kuberays_crd(document: str) -> None:
    """The folder is helm-chart/kuberay-operator/crds of a KubeRay release. Fields that a CRD lacks are refused."""
    import jsonschema

    def strict(schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("x-kubernetes-int-or-string"):
            return {"type": ["integer", "string"]}
        inner = {key: schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)}
        made = {**schema, **{key: strict(value) for key, value in inner.items()}}
        if "properties" in schema:
            made["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
            made.setdefault("additionalProperties", False)
        return made

    manifest = MANIFESTS[document]
    crds = [load(path) for path in Path(os.environ["KUBERAY_CRDS"]).glob("*.yaml")]
    (crd,) = [crd for crd in crds if crd["spec"]["names"]["kind"] == manifest["kind"]]
    (served,) = [version for version in crd["spec"]["versions"] if version["name"] == "v1"]
    schema = strict(served["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.validate(manifest, schema)


@pytest.mark.parametrize(
    "document", [key for key in MANIFESTS if key.split("/")[0] in ("NetworkPolicy", "PersistentVolumeClaim")]
)
def test_it_fits_kubernetes_schema(document: str) -> None:
    """Checked where kubernetes-validate is installed, which brings the schemas."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(MANIFESTS[document], "1.34", strict=True)
