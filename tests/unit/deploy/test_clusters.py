"""Ray's cluster files: as Ray wants them, closed to the outside; workers are cheap first, and end when idle."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.described import CLUSTERS, load, name, of_a_cluster_file

pytest.importorskip("ray")
CLOUDS = [path for path in CLUSTERS if "available_node_types" in load(path)]
every_cluster = pytest.mark.parametrize("path", CLUSTERS, ids=name)
every_cloud = pytest.mark.parametrize("path", CLOUDS, ids=name)


def prepared(path: Path) -> dict[str, Any]:
    """The file with Ray's defaults around it, as `ray up` sees it."""
    from ray.autoscaler._private.util import prepare_config

    return prepare_config(load(path))


def starts(config: dict[str, Any]) -> list[str]:
    lines = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    return [line for line in lines if "ray start" in line]


def is_spot(kind: dict[str, Any]) -> bool:
    node = kind["node_config"]
    return "InstanceMarketOptions" in node or node.get("scheduling", {}).get("provisioningModel") == "SPOT"


@every_cluster
def test_it_fits_rays_schema(path: Path) -> None:
    import jsonschema
    import ray.autoscaler
    from ray.autoscaler._private.util import validate_config

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(load(path), schema)
    validate_config(prepared(path))


@every_cluster
def test_its_head_does_no_work_and_its_workers_have_gpus(path: Path) -> None:
    head, worker, most = of_a_cluster_file(load(path))
    assert head == (0, 0)
    assert worker[1] > 0
    assert most > 0


@every_cluster
def test_whoever_wants_to_use_it_needs_its_token(path: Path) -> None:
    config = prepared(path)
    assert len(starts(config)) == 2
    assert all("RAY_AUTH_MODE=token" in start for start in starts(config))
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    assert {target: source for target, source in config["file_mounts"].items() if "token" in target} == {
        f"/home/{config['auth']['ssh_user']}/.ray/auth_token": "~/.ray/auth_token"
    }


@every_cluster
def test_its_dashboard_is_on_loopback(path: Path) -> None:
    head, worker = starts(prepared(path))
    assert "--dashboard-host=127.0.0.1" in head
    assert "host" not in worker
    assert "0.0.0.0" not in path.read_text(encoding="utf-8")


@every_cloud
def test_idle_workers_end(path: Path) -> None:
    config = prepared(path)
    kept = sum(kind["min_workers"] for key, kind in config["available_node_types"].items() if key != "head")
    assert 0 < config["idle_timeout_minutes"] <= 30
    assert kept <= 1
    assert not config["provider"]["cache_stopped_nodes"]


def test_own_machines_all_join() -> None:
    config = prepared(next(path for path in CLUSTERS if path not in CLOUDS))
    (kind,) = config["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == len(config["provider"]["worker_ips"])


@every_cloud
def test_workers_are_spot_machines_and_on_demand_where_there_are_none(path: Path) -> None:
    """Ray 2.60.0 tries the type whose name sorts last first, of two that fit alike."""
    from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for

    kinds = load(path)["available_node_types"]
    spot = [key for key, kind in kinds.items() if is_spot(kind)]
    assert len(spot) == 1
    types = {key: {**kind, "node_config": {}} for key, kind in kinds.items()}
    score = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
    wanted, unmet = get_nodes_for(types, {}, "head", 2, [{"GPU": 4.0, "CPU": 8.0}], score)
    assert (list(wanted), unmet) == (spot, [])
    onward = {key: kind for key, kind in types.items() if key not in spot}
    wanted, unmet = get_nodes_for(onward, {}, "head", 2, [{"GPU": 4.0, "CPU": 8.0}], score)
    assert (list(wanted), unmet) == (["gpu"], [])


def test_the_machines_of_google_cloud_are_as_its_interface_describes_them() -> None:
    """Checked where google-api-python-client is installed, which brings the description."""
    import jsonschema

    package = pytest.importorskip("googleapiclient").__file__
    document = json.loads((Path(package).parent / "discovery_cache/documents/compute.v1.json").read_text())

    def schema(of: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in of:
            return schema(document["schemas"][of["$ref"]])
        told = {"enum": of["enum"]} if "enum" in of else {}
        if "properties" in of:
            fields = {key: schema(field) for key, field in of["properties"].items()}
            return {"type": "object", "properties": fields, "additionalProperties": False}
        if of.get("type") == "array":
            return {"type": "array", "items": schema(of["items"])}
        numeric = of.get("format") in ("int64", "uint64")  # a string in JSON, by Google's custom
        return {"type": ["string", "integer"] if numeric else of.get("type", "object"), **told}

    instance = schema(document["schemas"]["Instance"])
    (path,) = [path for path in CLOUDS if load(path)["provider"]["type"] == "gcp"]
    for kind in load(path)["available_node_types"].values():
        jsonschema.validate(kind["node_config"], instance)
