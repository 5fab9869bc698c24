"""What a run is expected to take: FLOPs over speeds, text counted, steps in the order they will run in."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import machine
from orchestrator.artifacts import Store
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import Recipe
from orchestrator.pipeline import estimate as room
from orchestrator.pipeline import speeds
from orchestrator.pipeline.estimate import (
    BETWEEN,
    DATA_SECONDS,
    EDGE,
    SESSION_SECONDS,
    START,
    Estimate,
    estimate,
    expecting,
    matmul_flops_per_second,
)
from orchestrator.pipeline.noting import SpeedNotes
from orchestrator.pipeline.plan import Plan, make_plan
from orchestrator.pipeline.speeds import SESSION, Conditions, Note, Work, kind_of, noted, speed_of, start_of
from orchestrator.stages.base import Cost

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"
TINY = (
    "corpus.languages={en: {source: miniwiki}, fr: {source: miniwiki}}",
    "blocks.context=16",
    "teacher.training={tokens: 20000, batch_tokens: 256, micro_batch: 8, eval_every: 20, eval_blocks: 1000}",
    "experts.training={tokens: 10000, batch_tokens: 256, micro_batch: 8, eval_every: 20, eval_blocks: 1000}",
    "{teacher,experts}.training.precision=fp32",
    "resources={device: cpu, slots: 1, threads: 1}",
)
PEAK = 1e11


@pytest.fixture(autouse=True)
def new_machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has run on this machine yet, and a matrix product is as fast on any."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(machine, "_found", {})
    monkeypatch.setattr(room, "matmul_flops_per_second", lambda *_: PEAK)


def planned(folder: Path, *overrides: str, recipe: str = "smoke") -> tuple[Recipe, Plan]:
    tiny = [each.replace("{teacher,experts}", part) for each in TINY for part in ("teacher", "experts")]
    read = load_recipe(RECIPES / f"{recipe}.yaml", (*dict.fromkeys(tiny), *overrides))
    return read, expecting(make_plan(read, Store(folder)), read)


def costs_of(plan: Plan) -> dict[str, Cost]:
    return {step.name: plan.cost(step) for step in plan.steps}


def estimated(recipe: Recipe, plan: Plan) -> Estimate:
    return estimate(plan, costs_of(plan), recipe, local=True)


def remember(*notes: Note) -> None:
    machine.remember(speeds.NAME, [asdict(note) for note in notes])


NOTE = Note("TeacherStage adamw", "flops", 1e6, "cpu", "fp32", 1, ray=False, speed=1e9, start=2.0)
HERE = Conditions("cpu", "fp32", 1, ray=False)


class TestSpeeds:
    def test_nothing_is_known_of_a_new_machine(self) -> None:
        assert speed_of(Work("TeacherStage adamw", "flops", 1e12, 1e6), HERE, noted()) is None

    def test_notes_outlive_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        remember(NOTE)
        monkeypatch.setattr(machine, "_found", {})
        assert noted() == [NOTE]

    @pytest.mark.parametrize("held", [[{"kind": "a"}], {"kind": 1}, [3], "x", [None]])
    def test_what_another_version_noted_is_passed_over(self, held: Any) -> None:
        machine.remember(speeds.NAME, held)
        assert noted() == []

    def test_the_middle_of_the_newest_of_its_kind_and_size(self) -> None:
        slower = [replace(NOTE, speed=speed) for speed in (9e9, 1e9, 2e9, 3e9, 4e9, 5e9)]
        others = [replace(NOTE, size=1e8, speed=7e9), replace(NOTE, kind="ExpertStage adamw", speed=8e9)]
        found = speed_of(Work(NOTE.kind, "flops", 1e12, 1e6), HERE, [*slower, *others], trains=True)
        assert found is not None
        assert (found.speed, len(found.notes)) == (3e9, 5)

    def test_the_start_of_a_training_is_that_of_its_kind_and_of_workers_that_stand_or_do_not(self) -> None:
        ray, expert = replace(NOTE, ray=True), "ExpertStage adamw"
        stood = replace(ray, stood=True)
        later = [replace(stood, kind=expert, start=start) for start in (0.3, 0.5, 0.4)]
        notes = [replace(ray, start=9.0), *later, replace(stood, kind="JointStage", start=3.0)]
        notes.append(replace(stood, kind=expert, start=None))
        assert start_of(expert, ray=True, stands=True, notes=notes) == 0.4
        assert start_of(expert, ray=True, stands=False, notes=notes) == 9.0
        assert start_of("JointStage", ray=True, stands=True, notes=notes) == 3.0
        assert start_of("StudentStage", ray=True, stands=True, notes=notes) == 0.45
        assert start_of(expert, ray=False, stands=False, notes=notes) is None

    @given(st.floats(0.01, 100), st.floats(1e-6, 1e-3), st.floats(1, 1e6), st.integers(1, 5))
    def test_steps_without_a_loop_tell_how_much_is_there_whatever_the_amount(
        self, start: float, each: float, amount: float, count: int
    ) -> None:
        def seconds_of(amounts: list[float], wanted: float) -> float:
            about = replace(NOTE, kind="TokensStage", unit="tokens", size=1.0, start=None)
            notes = [replace(about, amount=a, speed=a / (start + each * a)) for a in amounts]
            found = speed_of(Work("TokensStage", "tokens", wanted), HERE, notes)
            assert found is not None
            return found.start + wanted / found.speed

        assert seconds_of([amount] * count, amount) == pytest.approx(start + each * amount)
        assert seconds_of([amount, 5 * amount], 20 * amount) == pytest.approx(start + each * 20 * amount, rel=1e-3)

    def test_another_kind_tells_of_flops_and_of_nothing_else(self) -> None:
        assert speed_of(Work("StudentStage adamw", "flops", 1e12, 1e6), HERE, [NOTE]) is not None
        assert speed_of(Work("TokensStage", "tokens", 1e6), HERE, [replace(NOTE, unit="tokens")]) is None

    def test_other_devices_and_arithmetic_tell_nothing_and_other_threads_something(self) -> None:
        work = Work(NOTE.kind, "flops", 1e12, 1e6)
        assert speed_of(work, replace(HERE, device="cuda"), [NOTE]) is None
        assert speed_of(work, replace(HERE, arithmetic="bf16"), [NOTE]) is None
        faster = speed_of(work, replace(HERE, threads=4), [NOTE], trains=True)
        assert faster is not None
        assert 2 < faster.speed / NOTE.speed < 4

    def test_kinds_differ_in_what_decides_the_speed(self, tmp_path: Path) -> None:
        def kind(*overrides: str) -> str:
            _, plan = planned(tmp_path, *overrides)
            return kind_of(next(step for step in plan.steps if step.name == "expert-fr").step.stage)

        assert {kind(), kind("seed=5"), kind("experts.training.tokens=9000")} == {kind()}
        other = ("experts.distillation.soft=reverse_kl", "experts.training.optimizer=muon")
        assert len({kind(), *map(kind, other)}) == 1 + len(other)


class TestNotes:
    def facts(self, **changes: Any) -> dict[str, Any]:
        where = {"device": "cpu", "threads": 1, "arithmetic": "fp32", "processor": machine.processor(), "world_size": 1}
        return {"tokens": 20_000, "seconds": 20.0, **where, **changes}

    def note(self, folder: Path, manifest: dict[str, Any], *steps: str, **changes: Any) -> list[Note]:
        recipe, plan = planned(folder)
        observer = SpeedNotes(plan, costs_of(plan), recipe.resources, local=True, since=time.perf_counter())
        for step in steps:
            made = folder / step
            made.mkdir(exist_ok=True)
            (made / "training.json").write_text(json.dumps(self.facts(**changes)))
            observer.started(step)
            observer.finished(step, {"seconds": 25.0, "run_peak_memory_bytes": 1, **manifest}, made)
        observer.close(None)
        return [note for note in noted() if note.kind != SESSION]

    def test_a_trainings_own_tokens_and_seconds_count(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        cost = costs_of(plan)["teacher"]
        (found,) = self.note(tmp_path, {}, "teacher")
        assert found.speed == pytest.approx(cost.flops / cost.tokens * 20_000 / 20.0, rel=1e-3)
        assert (found.start, found.amount, found.stood) == (
            5.0,
            float(f"{cost.flops / cost.tokens * 20_000:.4g}"),
            False,
        )

    def test_what_passes_before_the_first_step_is_noted(self, tmp_path: Path) -> None:
        self.note(tmp_path, {}, "corpus")
        (session,) = (note for note in noted() if note.kind == SESSION)
        assert 0 < session.seconds < 60
        expected = estimated(*planned(tmp_path))
        assert expected.total == pytest.approx(expected.schedule.seconds + EDGE + session.seconds)

    def test_steps_without_a_model_are_noted_too(self, tmp_path: Path) -> None:
        text, report = self.note(tmp_path, {}, "corpus", "report")
        assert (text.unit, report.unit, report.speed) == ("steps", "steps", 1 / 25)  # no blocks: nobody counted text

    @pytest.mark.parametrize("changes", [{"processor": "another"}, {"tokens": None}, {"seconds": "x"}])
    def test_other_machines_and_nonsense_are_left_out(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        assert self.note(tmp_path, {}, "teacher", **changes) == []

    def test_a_cluster_of_others_is_left_out(self, tmp_path: Path) -> None:
        assert self.note(tmp_path, {"run_peak_memory_bytes": None}, "teacher", "report") == []


class TestEstimate:
    def test_a_guess_says_so(self, tmp_path: Path) -> None:
        recipe, plan = planned(tmp_path)
        expected = estimated(recipe, plan)
        assert expected.grounds == "no run yet on this machine: a guess, within a factor of 3"
        assert set(expected.seconds) == {step.name for step in plan.missing}
        steps = len(expected.seconds)
        assert expected.schedule.seconds == pytest.approx(sum(expected.seconds.values()) + BETWEEN * steps)
        assert expected.total == pytest.approx(expected.schedule.seconds + EDGE + SESSION_SECONDS[False])
        flops = costs_of(plan)["teacher"].flops
        reached = room.EFFICIENCY["fp32"] * PEAK
        assert expected.seconds["teacher"] == pytest.approx(START + flops / reached)
        assert expected.seconds["report"] == pytest.approx(DATA_SECONDS)
        assert expected.seconds["cache-en"] > 0
        assert expected.seconds["evaluation"] > 0

    def test_by_earlier_trainings_where_there_are_any(self, tmp_path: Path) -> None:
        recipe, plan = planned(tmp_path)
        cost = costs_of(plan)["teacher"]
        stage = next(step for step in plan.steps if step.name == "teacher").step.stage
        remember(*(replace(NOTE, kind=kind_of(stage), size=cost.flops / cost.tokens, speed=s) for s in (1e8, 2e8, 3e8)))
        expected = estimated(recipe, plan)
        assert expected.seconds["teacher"] == pytest.approx(2.0 + cost.flops / 2e8)
        assert expected.grounds == "from 3 earlier trainings on this machine"  # experts by what the teacher reached

    def test_ten_times_the_tokens_take_ten_times_as_long(self, tmp_path: Path) -> None:
        remember(replace(NOTE, start=0.0))
        short, long = (
            estimated(*planned(tmp_path, f"teacher.training.tokens={tokens}")).seconds["teacher"]
            for tokens in (10**7, 10**8)
        )
        assert long / short == pytest.approx(10)

    def test_trainings_of_which_nothing_is_known_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("orchestrator.training.device.fast_bf16", lambda: True)
        recipe, plan = planned(tmp_path, "experts.training.precision=bf16")
        remember(NOTE)
        grounds = estimate(plan, costs_of(plan), recipe, local=True).grounds
        assert (
            grounds == "from 1 earlier training on this machine; of expert-en, expert-fr a guess, within a factor of 3"
        )

    def test_what_is_cached_takes_no_time(self, tmp_path: Path) -> None:
        recipe, plan = planned(tmp_path)
        done = replace(plan, steps=tuple(replace(step, wanted=False) for step in plan.steps))
        expected = estimated(recipe, done)
        assert (expected.total, expected.seconds) == (0, {})

    def test_nothing_is_trained_to_find_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(*_: object) -> None:
            raise AssertionError

        monkeypatch.setattr("torch.Tensor.backward", forbidden)
        recipe, plan = planned(
            tmp_path, "study={type: paper, setups: {ple: ple, jeet: jeet}, seeds: [1], forgetting: true}"
        )
        assert estimated(recipe, plan).total > 0
        assert list(tmp_path.iterdir()) == []


def test_a_guess_measures_the_product_that_trainings_multiply_by(monkeypatch):
    taken = []
    monkeypatch.setattr("orchestrator.products.product", lambda a, b: taken.append(len(a)) or a @ b.t())
    assert matmul_flops_per_second(repeats=2) > 0
    assert taken == [512] * 3
