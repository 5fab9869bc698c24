"""The job modules: thin, of harmless names, and the cluster that they run on."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if not path.stem.startswith("_"))


def test_every_job_is_there() -> None:
    one_stage_each = {"prepare_data", "train_teacher", "distill_experts", "train_router", "evaluate_experts"}
    assert set(JOBS) == {"run", "sweep", *one_stage_each}


def test_no_job_shadows_a_package() -> None:
    """`python jobs/run.py` would put jobs/ itself first on the path."""
    banned = {"serve", "evaluate", "datasets", "tokenizers", "ray", "mlflow", "torch", "transformers", "orchestrator"}
    assert banned.isdisjoint(JOBS)
    assert set(sys.stdlib_module_names).isdisjoint(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_a_few_lines(job: str) -> None:
    assert len((ROOT / "jobs" / f"{job}.py").read_text().splitlines()) <= 15


@pytest.mark.parametrize(("job", "kind"), [("run", "RECIPE"), ("sweep", "SWEEP")])
def test_a_mistake_ends_with_a_message_and_exit_code_2(job: str, kind: str) -> None:
    command = [sys.executable, "-m", f"jobs.{job}"]
    wrong = subprocess.run([*command, "missing.yaml", "seed=1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "missing.yaml" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    usage = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (usage.returncode, kind in usage.stdout) == (0, True)


def test_cluster_yaml_fits_rays_schema() -> None:
    pytest.importorskip("ray")
    import jsonschema
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    prepared = prepare_config(config)
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert types[prepared["head_node_type"]]["resources"]["GPU"] == 0
    assert any(node["resources"].get("GPU", 0) > 0 for node in types.values())
    starts = [*prepared["head_start_ray_commands"], *prepared["worker_start_ray_commands"]]
    assert "--dashboard-host=127.0.0.1" in " ".join(starts)
    assert all("RAY_AUTH_MODE=token" in start for start in starts if "ray start" in start)
    assert types[prepared["head_node_type"]]["resources"]["CPU"] == 0


def test_workers_of_cluster_yaml_are_spot_instances_and_on_demand_where_there_are_none() -> None:
    """Ray 2.60.0 tries the type whose name sorts last first, of two that fit alike."""
    from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    types = {name: {**kind, "node_config": {}} for name, kind in config["available_node_types"].items()}
    spot = [
        name for name, kind in config["available_node_types"].items() if "InstanceMarketOptions" in kind["node_config"]
    ]
    score = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
    wanted, unmet = get_nodes_for(types, {}, "head", 2, [{"GPU": 4.0, "CPU": 8.0}], score)
    assert (list(wanted), unmet) == (spot, [])
