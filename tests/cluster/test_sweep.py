"""Sweeps on Ray Tune: trials from one teacher, bad ones told and survived, nothing done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from orchestrator.artifacts import Store
from orchestrator.cli import sweep as command_line
from orchestrator.config.loading import load_recipe
from orchestrator.errors import ResourceError, StageFailedError
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import make_plan
from orchestrator.sweeps.run import read_sweep
from orchestrator.sweeps.trials import PlannedTrial

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "corpus.max_documents": 25,
    "tokenizer.vocab_size": 512,
    "teacher.training.tokens": 4096,
    "experts.training.tokens": 8192,
    "experts.training.eval_every": 4,
    "experts.training.checkpoint_every": 4,
    "resources": {"slots": 2, "cpus": 2, "max_failures": 0},
    "tracking.type": "none",
}
LR = "experts.training.optimizer.lr"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one that has made what the sweeps of this module rest on."""
    folder = tmp_path_factory.mktemp("runs")
    overrides = [f"{field}={json.dumps(value)}" for field, value in {**SMALL, "name": "upstream"}.items()]
    recipe = load_recipe(ROOT / "jobs" / "recipes" / "smoke.yaml", overrides)
    runner = LocalRunner(recipe.resources)
    execute(make_plan(recipe, Store(folder / "upstream"), until=("teacher",)), runner, [])
    runner.close()
    return folder


def written(folder: Path, name: str, overrides: Mapping[str, Any] = {}, **fields: Any) -> Path:
    tree = {"name": name, "base": str(ROOT / "jobs" / "recipes" / "smoke.yaml"), "seeds": [1], **fields}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**tree, "overrides": {**SMALL, **overrides}}, sort_keys=False))
    return file


def planned(file: Path, name: str, runs: Path) -> PlannedTrial:
    """A trial by its configuration; `runs` holds the sweep's folder."""
    agenda = read_sweep(file, (), runs, adopt=False).agenda
    return next(trial for trial in agenda.trials if trial.configuration.name == name)


def weights_alone(file: Path, name: str, runs: Path, folder: Path) -> str:
    """Digest of what a configuration's expert learns in this process, with nothing before it."""
    shutil.copytree(runs / "upstream", folder / "upstream")
    trial = planned(file, name, folder)
    runner = LocalRunner(trial.recipe.resources)
    execute(make_plan(trial.recipe, trial.store, until=tuple(trial.trained)), runner, [])
    runner.close()
    return str(trial.facts()[0]["weights_sha256"])


def is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()[:1] != [] and process.cmdline()[0].startswith("ray::StandingWorker")
    return False


class Events:
    """An observer that writes down what it is told, and kills the process of some training at its first metrics."""

    def __init__(self, victim: str = "") -> None:
        self.ends: dict[str, str] = {}
        self.validated: list[tuple[str, int]] = []
        self.victim = victim
        self.workers: set[int] = set()

    def started(self, step: str) -> None:
        pass

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.validated += [(step, row["step"]) for row in rows if "validation_loss" in row]
        working = [each for each in psutil.Process().children(recursive=True) if is_worker(each)]
        self.workers |= {process.pid for process in working}
        if step == self.victim:
            self.victim = ""
            for process in working:
                process.kill()

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        self.ends[step] = "finished"

    def failed(self, step: str, error: Exception) -> None:
        self.ends[step] = f"{type(error).__name__}: {error}"

    def close(self, report: Path | None) -> None:
        pass


def swept(file: Path, runs: Path, events: Events, **options: Any) -> dict[str, Any]:
    """The results of a sweep's report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "sweep_display", lambda trials: events)
        try:
            command_line.sweep(file, (), runs, **options)
        finally:
            results = json.loads((runs / file.stem / "report" / "results.json").read_text())
    return {each["label"]: each for each in results["configurations"]}


@pytest.mark.long
def test_bad_trials_are_told_and_the_others_go_on(runs: Path, tmp_path: Path, ray_session: None) -> None:
    events = Events(victim="trial-04-en")
    configurations = {
        "fine": {},
        "diverges": {LR: 1e30},
        "inherits": {LR: 4e-3},
        "killed": {LR: 2e-3, "experts.training.tokens": 200_000},
        "last": {LR: 5e-3},
    }
    one_slot = {"resources": {"slots": 1, "cpus": 2, "max_failures": 0}}
    file = written(runs, "bad", one_slot, configurations=configurations)
    with pytest.raises(StageFailedError, match="2 of 5 trials failed") as caught:
        swept(file, runs, events)
    assert "not finite" in str(caught.value)
    assert "a worker process was killed, most likely for want of memory" in str(caught.value)
    kinds = [events.ends[f"trial-0{n}-en"].split(":")[0] for n in range(1, 6)]
    assert kinds == ["finished", "TrainingError", "finished", "WorkerDiedError", "finished"]
    results = json.loads((runs / "bad" / "report" / "results.json").read_text())["configurations"]
    assert [each["mean"] is None for each in results] == [False, True, False, True, False]
    inherited = planned(file, "inherits", runs).facts()[0]["weights_sha256"]
    assert inherited == weights_alone(file, "inherits", runs, tmp_path)


def test_early_stopping_and_equal_time(runs: Path, ray_session: None) -> None:
    events = Events()
    file = written(
        runs,
        "early",
        {"experts.training.tokens": 16 * 1024, "resources": {"slots": 1, "cpus": 2}},  # the good one goes first
        configurations={"good": {LR: 3e-3}, "bad": {LR: 1e-6, "experts.training.tokens": 300 * 1024}},
        asha={"grace_steps": 8, "reduction_factor": 2},
        equal_time={"good": "good"},
    )
    found = swept(file, runs, events)
    assert found["bad"]["trials"][0]["status"] == "stopped"
    assert "stopped early by ASHA at step" in events.ends["trial-02-en"]
    assert found["bad"]["trials"][0]["curve"][0][0] == 4
    assert found["good, equal time"]["trials"][0]["tokens"] == found["good"]["trials"][0]["tokens"]
    assert not list((runs / "early" / "work").glob("*"))
    assert len(events.workers) == 1  # a stopped training leaves its worker to the next one
    again = Events()
    swept(file, runs, again)
    assert again.ends == {}


@pytest.mark.long
def test_optuna_searches_while_trials_run(runs: Path, ray_session: None) -> None:
    events = Events()
    search = {"type": "optuna", "samples": 3, "space": {LR: {"low": 1e-4, "high": 1e-2, "log": True}}, "seed": 1}
    file = written(runs, "searched", {"resources": {"slots": 2, "cpus": 2}}, search=search)
    found = swept(file, runs, events)
    assert {end for step, end in events.ends.items() if step.startswith("trial")} == {"finished"}
    assert [each["trials"][0]["status"] for each in found.values()] == ["finished"] * 3
    (points,) = json.loads((runs / "searched" / "sweep.json").read_text())["suggestions"].values()
    assert [f"lr={point[LR]}" for point in points] == list(found)


@pytest.mark.long
def test_a_sweep_without_ray(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    events = Events()
    configurations = {"fine": {}, "diverges": {LR: 1e30}, "other": {LR: 4e-3}}
    file = written(runs, "local", seeds=[7], configurations=configurations)
    with pytest.raises(StageFailedError, match="1 of 3 trials failed"):
        swept(file, runs, events, local=True)
    ends = [events.ends[f"trial-0{number}-en"].split(":")[0] for number in (1, 2, 3)]
    assert ends == ["finished", "TrainingError", "finished"]
    again = Events()
    written(runs, "local", seeds=[7], configurations={name: configurations[name] for name in ("fine", "other")})
    swept(file, runs, again, local=True, force=["trial-02"])
    assert again.ends == {"trial-02-en": "finished"}
    written(runs, "local", seeds=[7], configurations=configurations, asha={"grace_steps": 4})
    with pytest.raises(ResourceError, match="early stopping needs Ray Tune"):
        swept(file, runs, events, local=True)


@pytest.mark.slow
def test_a_sweep_from_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    from orchestrator.cli.sweep import sweep
    from orchestrator.tracking.mlflow import local_store

    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    grid = {"experts.training.optimizer": [{"type": "adamw", "lr": 0.003}, {"type": "adamw", "lr": 1e30}]}
    file = written(tmp_path, "tiny", {"tracking.type": "mlflow"}, grid=grid)
    with pytest.raises(StageFailedError, match="1 of 2 trials failed"):
        sweep(file, (), tmp_path)

    root = tmp_path / "tiny"
    assert (root / "report" / "index.html").exists()
    assert "trial-01-en: done in" in capsys.readouterr().out
    assert len(list((root / "stages" / "teacher").iterdir())) == 1
    (expert,) = (root / "stages" / "expert-en").iterdir()
    assert json.loads((expert / "training.json").read_text())["steps"] == 8

    client = MlflowClient(tracking_uri=local_store(root))
    found = client.search_runs([client.get_experiment_by_name("mome").experiment_id])
    status = {run.info.run_name: run.info.status for run in found}
    assert (status["trial-01-en"], status["trial-02-en"]) == ("FINISHED", "FAILED")
    parent = next(run.info.run_id for run in found if run.info.run_name == "tiny")
    assert {run.data.tags.get("mlflow.parentRunId") for run in found if run.info.run_name != "tiny"} == {parent}

    written(tmp_path, "tiny", {"tracking.type": "mlflow"}, grid={k: v[:1] for k, v in grid.items()})
    sweep(file, (), tmp_path)
    assert "nothing to do: all 1 trials of tiny are done" in capsys.readouterr().out


def command(file: Path, runs: Path, log: Path) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "orchestrator.cli.main", "sweep", str(file), "--runs", str(runs)]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(line, cwd=ROOT, stdout=log.open("a"), stderr=subprocess.STDOUT, env=environment)


@pytest.mark.slow
def test_a_killed_sweep_goes_on(runs: Path, tmp_path: Path) -> None:
    one_slot = {"resources": {"slots": 1, "cpus": 1}, "experts.training.tokens": 400 * 1024}
    file, log = written(runs, "killed", one_slot, grid={LR: [1e-3, 2e-3]}), tmp_path / "log.txt"
    root = runs / "killed"

    def checkpointed() -> list[Path]:
        done = {f"expert-en-{path.parent.name}" for path in root.glob("stages/expert-en/*/manifest.json")}
        return [path for path in root.glob("work/expert-en-*/checkpoints/step-*") if path.parts[-3] not in done]

    def reached() -> int:
        return max((int(path.name.removeprefix("step-")) for path in checkpointed()), default=0)

    process = command(file, runs, log)
    while process.poll() is None and not (list(root.glob("stages/expert-en/*/manifest.json")) and reached() > 8):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    seen: list[Path] = []
    while seen != (seen := sorted(checkpointed())):  # what it had started ends by itself, seconds later
        time.sleep(4)
    (finished,) = root.glob("stages/expert-en/*/manifest.json")
    before, step = finished.read_text(), reached()
    assert 8 < step < 400

    killed_log = log.stat().st_size
    assert command(file, runs, log).wait() == 0, log.read_text()[-3000:]
    second = log.read_bytes()[killed_log:].decode()
    assert "trial-01-en: started" not in second
    assert f"trial-02-en: step {step + 4}/400" in second
    assert f"trial-02-en: step {step - 4}/400" not in second
    assert "trial-02-en: step 4/400" not in second
    assert finished.read_text() == before
    assert len(list(root.glob("stages/expert-en/*"))) == 2
