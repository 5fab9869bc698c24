"""Recipes with default resources on clusters of several shapes: everything they start fits a node, and they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import started

from tests.unit.deploy.described import shapes as described

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
TWO_NODES = [{"num_cpus": 2}, {"num_cpus": 2}]
A_HEAD_AND_THREE = [{"num_cpus": 0}, {"num_cpus": 2}, {"num_cpus": 2}, {"num_cpus": 1}]


def run(environment: dict[str, str], recipe: str, runs: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", f"jobs/recipes/{recipe}.yaml", *overrides]
    done = subprocess.run(
        [*command, "--runs", str(runs)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.mark.parametrize("recipe", ["smoke", "quickstart"])
@pytest.mark.parametrize("shapes", [TWO_NODES, A_HEAD_AND_THREE], ids=["two nodes", "a head and three nodes"])
def test_a_recipe_runs_to_its_report(recipe: str, shapes: list[dict[str, int]], tmp_path: Path) -> None:
    with started(shapes) as environment:
        run(environment, recipe, tmp_path, "tracking.type=none")
    results = json.loads((tmp_path / recipe / "report" / "results.json").read_text())
    assert set(results["expert_perplexity"]) == {"en", "fr", "de", "py"}


@pytest.mark.parametrize("recipe", ["smoke", "quickstart"])
@pytest.mark.parametrize("shape", sorted(set(described().values())), ids=str)
def test_a_recipe_runs_to_its_report_on_every_described_cluster(
    recipe: str, shape: tuple[tuple[float, float], tuple[float, float], int], tmp_path: Path
) -> None:
    """The GPUs are not there, so the trainings are on CPUs: placed as on nodes of that many, computed with two."""
    head, worker = ({"num_cpus": int(cpus), "num_gpus": int(gpus)} for cpus, gpus in shape[:2])
    with started([head, *shape[2] * [worker]]) as environment:
        run(environment, recipe, tmp_path, "tracking.type=none", "resources.device=cpu", "resources.threads=1")
    results = json.loads((tmp_path / recipe / "report" / "results.json").read_text())
    assert set(results["expert_perplexity"]) == {"en", "fr", "de", "py"}
