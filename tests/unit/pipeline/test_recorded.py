"""Plans against what recorded runs took: on two cores, beside other work (`load`: of the machine, when a run began)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import machine, resources
from orchestrator.artifacts import Store
from orchestrator.config.loading import load_recipe
from orchestrator.pipeline import estimate as room
from orchestrator.pipeline import noting
from orchestrator.pipeline.estimate import Estimate, estimate, expecting
from orchestrator.pipeline.noting import SpeedNotes
from orchestrator.pipeline.plan import make_plan

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"
RUNS = [json.loads(line) for line in Path(__file__).with_name("recorded_runs.jsonl").read_text().splitlines()]
SMOKE, QUICKSTART = [[run for run in RUNS if run["recipe"] == name] for name in ("smoke", "quickstart")]


@pytest.fixture(autouse=True)
def two_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine like theirs, on which nothing has run yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(machine, "_found", {})
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(resources, "gpus", lambda: 0)
    monkeypatch.setattr("orchestrator.training.device.fast_bf16", lambda: True)
    products = {"fp32": 1.76e11, "bf16": 1.14e12}
    monkeypatch.setattr(room, "matmul_flops_per_second", lambda _, kind: products[kind])


def planned(run: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, dict[str, Any]]:
    monkeypatch.setattr(room, "expected_blocks", lambda *_: run["blocks"])
    recipe = load_recipe(RECIPES / f"{run['recipe']}.yaml", ())
    plan = expecting(make_plan(recipe, Store(folder / "run")), recipe)
    return recipe, plan, {each.name: plan.cost(each) for each in plan.steps}


def note(run: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a recorded run be noted as it was while it ran."""
    recipe, plan, costs = planned(run, folder, monkeypatch)
    monkeypatch.setattr(noting, "counted_blocks", lambda _: run["blocks"])
    observer, now = SpeedNotes(plan, costs, recipe.resources, local=False, since=0.0), 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    for name, step in run["steps"].items():
        now = step["began"]
        observer.started(name)
        made = folder / name
        made.mkdir(exist_ok=True)
        facts = {**step.get("training", {}), "processor": machine.processor()}
        (made / "training.json").write_text(json.dumps(facts))
        observer.finished(name, {"seconds": step["seconds"], "run_peak_memory_bytes": 1}, made)
    observer.close(None)


def expected(run: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Estimate:
    recipe, plan, costs = planned(run, folder, monkeypatch)
    return estimate(plan, costs, recipe, local=False)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['recipe']}-{run['seconds']:.0f}")
def test_a_run_is_expected_to_take_what_it_took(
    run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(run, tmp_path, monkeypatch)
    found = expected(run, tmp_path, monkeypatch)
    assert found.total == pytest.approx(run["seconds"], rel=0.1)
    assert found.guessed == ()
    for name, step in run["steps"].items():
        if "training" in step and step["seconds"] > 10:
            assert found.seconds[name] == pytest.approx(step["seconds"], rel=0.2)


@pytest.mark.parametrize("left_out", range(len(SMOKE)))
def test_others_of_its_kind_tell_of_a_run(left_out: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was up to twice as busy in one as in another."""
    for number, run in enumerate(SMOKE):
        if number != left_out:
            note(run, tmp_path, monkeypatch)
    found = expected(SMOKE[left_out], tmp_path, monkeypatch).total
    assert found == pytest.approx(SMOKE[left_out]["seconds"], rel=0.25)


def test_a_guess_lies_within_its_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for (run,) in (SMOKE[:1], QUICKSTART):
        found = expected(run, tmp_path, monkeypatch).total
        assert 1 / room.FACTOR < found / run["seconds"] < room.FACTOR
