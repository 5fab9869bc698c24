"""The job modules: thin, and of harmless names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
