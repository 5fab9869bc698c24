"""A sweep to its report: trials from one teacher, a failed one told and survived, nothing done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

RECIPES = Path(__file__).resolve().parents[2] / "jobs" / "recipes"


def test_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    from orchestrator.cluster.sweep import run_sweep
    from orchestrator.errors import StageFailedError
    from orchestrator.tracking.mlflow import local_store

    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "sweep.yaml"
    tree = {
        "name": "tiny",
        "base": str(RECIPES / "smoke.yaml"),
        "overrides": {
            "corpus.max_documents": 25,
            "teacher.training.tokens": 4096,
            "experts.training.tokens": 8192,
            "experts.training.eval_every": 4,
            "resources": {"slots": 2, "cpus": 2},
        },
        "grid": {"experts.training.optimizer": [{"type": "adamw", "lr": 0.003}, {"type": "adamw", "lr": 1e30}]},
        "seeds": [1],
    }
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(StageFailedError, match="1 of 2 trials failed") as caught:
        run_sweep(file, (), tmp_path)
    assert "not finite" in str(caught.value)

    root = tmp_path / "tiny"
    assert (root / "report" / "index.html").exists()
    assert "trial-01-en: done in" in capsys.readouterr().out
    assert len(list((root / "stages" / "teacher").iterdir())) == 1
    (expert,) = (root / "stages" / "expert-en").iterdir()
    assert json.loads((expert / "training.json").read_text())["steps"] == 8

    client = MlflowClient(tracking_uri=local_store(root))
    runs = client.search_runs([client.get_experiment_by_name("mome").experiment_id])
    status = {run.info.run_name: run.info.status for run in runs}
    assert (status["trial-01-en"], status["trial-02-en"]) == ("FINISHED", "FAILED")
    parent = next(run.info.run_id for run in runs if run.info.run_name == "tiny")
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs if run.info.run_name != "tiny"} == {parent}

    tree["grid"] = {"experts.training.optimizer": [{"type": "adamw", "lr": 0.003}]}
    file.write_text(yaml.safe_dump(tree))
    run_sweep(file, (), tmp_path)
    assert "nothing to do: all 1 trials of tiny are done" in capsys.readouterr().out
