"""What a run is expected to take: trainings rehearsed, text counted, steps in the order they will run in."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator import machine
from orchestrator.artifacts import Store, write_json
from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import Recipe
from orchestrator.pipeline import estimate as room
from orchestrator.pipeline.estimate import DATA_SECONDS, Machine, estimate, expecting, makespan
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.pace import Conditions, Pace, Recorded, kind_of_stage, pace_so_far
from orchestrator.pipeline.plan import Plan, make_plan
from orchestrator.pipeline.rehearsal import BUDGET, Rehearsal
from orchestrator.stages.base import Cost, Stage
from orchestrator.tokens.expected import counted_blocks, expected_blocks
from orchestrator.training.device import arithmetic

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"
TINY = (
    "corpus.languages={en: {source: miniwiki}, fr: {source: miniwiki}}",
    "blocks.context=16",
    "teacher.training={tokens: 20000, batch_tokens: 256, micro_batch: 8, eval_every: 20, eval_blocks: 1000}",
    "experts.training={tokens: 10000, batch_tokens: 256, micro_batch: 8, eval_every: 20, eval_blocks: 1000}",
)
HERE = Machine("cpu", slots=1, workers=1, threads=1, threads_alone=1, ray=False)


def planned(folder: Path, *overrides: str, recipe: str = "smoke") -> tuple[Recipe, Plan]:
    read = load_recipe(RECIPES / f"{recipe}.yaml", (*TINY, *overrides))
    return read, expecting(make_plan(read, Store(folder)), read)


def costs_of(plan: Plan) -> dict[str, Cost]:
    return {step.name: plan.cost(step) for step in plan.steps}


def rehearsal(plan: Plan, folder: Path, flops_per_second: float = 1e9) -> Rehearsal:
    return Rehearsal(plan, costs_of(plan), "cpu", folder, flops_per_second, until=time.monotonic() + 100 * BUDGET)


def paces(plan: Plan, folder: Path) -> dict[str, Pace | None]:
    """Of every training of a plan."""
    rehearsed = rehearsal(plan, folder)
    trainings = [step for step in plan.missing if rehearsed.costs[step.name].training]
    return {step.name: rehearsed.pace(step, 1, 0) for step in trainings}


class Trains(Stage):
    distributed = True


class Prepares(Stage):
    pass


def train(name: str, *inputs: str) -> Step:
    return Step(name, Trains(), {name: name for name in inputs})


def prepare(name: str, *inputs: str) -> Step:
    return Step(name, Prepares(), {name: name for name in inputs})


class TestMakespan:
    def test_trainings_share_slots(self) -> None:
        steps = [train(name) for name in "abcd"]
        seconds = dict.fromkeys("abcd", 10.0)
        assert [makespan(steps, seconds, slots) for slots in (1, 2, 3, 4)] == [40, 20, 20, 10]

    def test_steps_wait_for_their_inputs_and_data_for_no_slot(self) -> None:
        steps = [prepare("text"), train("a", "text"), prepare("more", "text"), train("b", "a", "more")]
        assert makespan(steps, {"text": 1, "a": 10, "more": 50, "b": 5}, slots=1) == 56

    def test_first_come_first_served(self) -> None:
        steps = [train("long"), train("short"), train("late", "short"), train("waits")]
        # "waits" was there before "late" could be.
        assert makespan(steps, {"long": 10, "short": 2, "late": 1, "waits": 7}, slots=2) == 10
        assert makespan(steps, {"long": 10, "short": 2, "late": 1, "waits": 8}, slots=2) == 11

    def test_inputs_that_are_there_already_are_not_waited_for(self) -> None:
        assert makespan([train("a", "made before")], {"a": 3}, slots=1) == 3

    def test_in_one_process_everything_comes_after_the_other(self) -> None:
        steps = [train("a"), train("b"), prepare("c")]
        assert makespan(steps, {"a": 1, "b": 2, "c": 4}, slots=2, serial=True) == 7

    def test_who_runs_alone_waits_for_all_slots_and_is_waited_for(self) -> None:
        steps = [train("a"), train("b"), replace(train("alone"), alone=True), train("c"), train("d")]
        assert makespan(steps, {"a": 2, "b": 5, "alone": 3, "c": 4, "d": 1}, slots=2) == 12

    def test_nothing_takes_no_time(self) -> None:
        assert makespan([], {}, slots=2) == 0


class TestText:
    def test_blocks_of_the_smallest_language_by_split(self) -> None:
        recipe = load_recipe(RECIPES / "smoke.yaml")
        # As the run itself has them: 459 to 470 blocks to train on, and about 100 in each of the other splits.
        blocks = expected_blocks(recipe)
        assert blocks["train"] == pytest.approx(460, rel=0.15)
        assert blocks["validation"] == blocks["test"] == pytest.approx(100, rel=0.25)

    def test_no_more_to_train_on_than_asked_for(self, tmp_path: Path) -> None:
        recipe, _ = planned(tmp_path, "blocks.balance.tokens_per_language=1000")
        assert expected_blocks(recipe)["train"] == 999 // 16

    @pytest.mark.parametrize("source", ["wiki40b", "{type: files, path: no/such/file.txt}"])
    def test_unknown_where_text_is_not_at_hand(self, tmp_path: Path, source: str) -> None:
        recipe = load_recipe(RECIPES / "smoke.yaml", [f"corpus.languages.en.source={source}"])
        assert expected_blocks(recipe) == {}

    def test_languages_with_splits_of_their_own(self, tmp_path: Path) -> None:
        for split, characters in (("train", 5000), ("validation", 900), ("test", 1000)):
            (tmp_path / f"{split}.txt").write_text("x" * characters)
        source = {split: f"{{type: files, path: {tmp_path / split}.txt}}" for split in ("train", "validation", "test")}
        language = f"{{source: {source['train']}, validation: {source['validation']}, test: {source['test']}}}"
        recipe = load_recipe(RECIPES / "smoke.yaml", [f"corpus.languages={{en: {language}}}", "blocks.context=8"])
        blocks = expected_blocks(recipe)
        assert blocks["train"] / blocks["validation"] == pytest.approx(5000 / 900, rel=0.05)

    def test_blocks_that_are_there_are_counted(self, tmp_path: Path) -> None:
        splits = {split: {"en": {"tokens": 33}, "fr": {"tokens": 17}} for split in ("train", "validation", "test")}
        about = {"context": 8, "dtype": "uint16", "vocab_size": 300, "languages": ["en", "fr"], "splits": splits}
        (tmp_path / "blocks.json").write_text(json.dumps(about))
        for split, languages in splits.items():
            (tmp_path / split).mkdir()
            for language, counts in languages.items():
                (tmp_path / split / f"{language}.bin").write_bytes(bytes(2 * counts["tokens"]))
        assert counted_blocks(tmp_path) == {"train": 2, "validation": 2, "test": 2}


def record(root: Path, plan: Plan, name: str, **facts: object) -> Path:
    """As a training of this plan leaves it in the run's folder; returns its ``training.json``."""
    step = next(step for step in plan.steps if step.name == name)
    file = root / "stages" / name / "0123" / "training.json"
    precision = costs_of(plan)[name].training
    assert precision is not None
    conditions = {
        "context": plan.expected.context,
        "parameters": costs_of(plan)[name].parameters,
        "device": "cpu",
        "threads": 1,
        "arithmetic": arithmetic(torch.device("cpu"), precision.precision),
        "processor": machine.processor(),
    }
    took = {"tokens": 20_000, "seconds": 20.0, "validated": 2, "validated_tokens": 1000, "tokens_per_second": 1000.0}
    write_json(file, {**conditions, **took, **facts})
    stage = step.step.stage
    made = {"stage": type(stage).__name__, "config": stage.model_dump(mode="json")}
    write_json(file.with_name("manifest.json"), made)
    return file


class TestRecorded:
    def test_pace_of_a_training_that_ran(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path / "run")
        facts = json.loads(record(tmp_path / "run", plan, "teacher", seconds=25.0).read_text())
        conditions = Conditions(**{name: facts[name] for name in Conditions.__dataclass_fields__})
        stage = next(step for step in plan.steps if step.name == "teacher").step.stage
        found = Recorded.of(tmp_path)
        assert found.pace(stage, conditions, 256) == Pace(step=0.256, token=0.005, languages=2, around=0.0)
        assert found.pace(stage, replace(conditions, arithmetic="other"), 256) is None

    @pytest.mark.parametrize(
        "facts", [{"processor": "another"}, {"tokens_per_second": 0}, {"validated": 0}, {"tokens_per_second": None}]
    )
    def test_other_machines_and_nonsense_are_passed_over(self, tmp_path: Path, facts: dict[str, object]) -> None:
        _, plan = planned(tmp_path / "run")
        record(tmp_path / "run", plan, "teacher", **facts)
        assert not Recorded.of(tmp_path).facts

    @pytest.mark.parametrize("damaged", ["", "[]", "null", "{"])
    def test_damaged_files_are_passed_over(self, tmp_path: Path, damaged: str) -> None:
        _, plan = planned(tmp_path / "run")
        file = record(tmp_path / "run", plan, "teacher")
        file.with_name("manifest.json").write_text(damaged)
        assert not Recorded.of(tmp_path).facts
        file.write_text(damaged)
        assert not Recorded.of(tmp_path).facts


class TestRehearsal:
    def test_every_training_of_the_main_line_has_a_pace(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        found = paces(plan, tmp_path)
        assert set(found) == {"teacher", "expert-en", "expert-fr"}
        assert all(pace is not None for pace in found.values())
        teacher, expert = found["teacher"], found["expert-en"]
        assert teacher is not None
        assert expert is not None
        assert (teacher.languages, expert.languages) == (2, 1)
        assert found["expert-en"] == found["expert-fr"]  # one kind
        assert 0 < expert.token < expert.step
        assert expert.around > 0

    @pytest.mark.parametrize("mixture", ["jeet", "moe_ce"])
    def test_experts_that_train_together(self, tmp_path: Path, mixture: str) -> None:
        _, plan = planned(tmp_path, f"setup={mixture}")
        pace = paces(plan, tmp_path)["joint"]
        assert pace is not None
        assert pace.languages == 2

    def test_students_of_a_study_and_what_they_begin_from(self, tmp_path: Path) -> None:
        study = (
            "study={setups: {ple: ple}, forgetting: true, seeds: [1], baselines: {dense: {}, mix: {initialise: "
            "branch_train_mix, tokens: 5000, model: {type: token-moe, base: gpt2-nano, experts: 2, top: 1}}}}"
        )
        _, plan = planned(tmp_path, study)
        found = paces(plan, tmp_path)
        assert {"dense", "mix", "sequential-en", "sequential-fr"} <= set(found)
        assert all(pace is not None for pace in found.values()), found

    def test_kinds_differ_in_what_takes_time(self, tmp_path: Path) -> None:
        def kind(*overrides: str) -> str:
            _, plan = planned(tmp_path, *overrides)
            expert = next(step for step in plan.steps if step.name == "expert-fr")
            return kind_of_stage(expert.step.stage)

        assert {kind(), kind("seed=5"), kind("experts.training.tokens=9000")} == {kind()}
        weights = [kind(f"experts.distillation.schedule={{type: fixed, alpha: {alpha}}}") for alpha in (0.3, 0.6, 0)]
        assert weights[0] == weights[1] != weights[2]
        other = (
            "experts.training.micro_batch=4",
            "experts.distillation.soft=forward_kl",
            "experts.distillation.schedule={type: fixed, alpha: 1}",
            "experts.training.optimizer=muon",
            "experts.model={type: gpt2-nano, layers: 3}",
        )
        assert len({kind(), *map(kind, other)}) == 1 + len(other)

    def test_what_takes_too_long_is_not_tried(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        rehearsed = rehearsal(plan, tmp_path, flops_per_second=1.0)
        expert = next(step for step in plan.steps if step.name == "expert-fr")
        assert rehearsed.pace(expert, 1, 0) is None
        assert not list(tmp_path.iterdir())

    def test_steps_that_were_taken_until_time_was_up_count(self, tmp_path: Path) -> None:
        work = tmp_path / "work"
        work.mkdir()
        rows = [{"tokens_per_second": speed} for speed in (1.0, 100.0, 200.0, 300.0)]
        (work / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ({"message": "x"}, *rows)))
        assert pace_so_far(work, 2, 400) == Pace(step=2.0, token=1 / 600, languages=2, around=0.0)
        (work / "metrics.jsonl").write_text(json.dumps(rows[0]) + "\n")
        with pytest.raises(TimeoutError):
            pace_so_far(work, 2, 400)

    def test_a_training_that_is_slower_than_its_flops_say_is_ended(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        rehearsed = Rehearsal(plan, costs_of(plan), "cpu", tmp_path, 1e15, until=time.monotonic() + 0.02)
        started = time.monotonic()
        rehearsed.pace(next(s for s in plan.steps if s.name == "teacher"), 1, 0)
        assert time.monotonic() - started < 20

    def test_threads_are_as_before(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        before = torch.get_num_threads()
        rehearsal(plan, tmp_path).pace(plan.steps[0], before + 1, neighbours=1)
        assert torch.get_num_threads() == before


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearsals have all the time that they need beside other work on this machine."""
    monkeypatch.setattr("orchestrator.pipeline.rehearsal.BUDGET", 100 * BUDGET)


@pytest.mark.usefixtures("patient")
class TestEstimate:
    def test_one_process_takes_the_sum_of_its_steps(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        expected = estimate(plan, costs_of(plan), HERE)
        assert expected.rehearsed == 3
        assert set(expected.seconds) == {step.name for step in plan.missing}
        assert expected.total == pytest.approx(sum(expected.seconds.values()))
        assert expected.seconds["report"] == DATA_SECONDS
        assert expected.seconds["cache-en"] > 0
        assert expected.seconds["evaluation"] > 0

    def test_ten_times_the_tokens_take_ten_times_as_long(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        record(tmp_path, plan, "teacher")  # one pace for both: a second rehearsal tells other work on this machine
        short, long = (
            estimate(plan, costs_of(plan), HERE).seconds["teacher"]
            for _, plan in (planned(tmp_path, f"teacher.training.tokens={tokens}") for tokens in (10**7, 10**8))
        )
        assert long / short == pytest.approx(10, rel=0.01)

    def test_by_flops_where_nothing_can_be_tried(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(room, "fast_bf16", lambda: False)
        monkeypatch.setattr(room, "matmul_flops_per_second", lambda device, kind: 1e11)
        large = "{type: gpt2, layers: 24, width: 1024, heads: 16}"
        _, plan = planned(tmp_path, f"teacher.model={large}", "teacher.training.batch_tokens=1048576")
        plan = replace(plan, steps=plan.steps[:5])
        costs = costs_of(plan)
        expected = estimate(plan, costs, HERE)
        assert expected.rehearsed == 0
        assert expected.seconds["teacher"] == pytest.approx(costs["teacher"].flops / (1e11 * room.EFFICIENCY["fp32"]))

    def test_whole_batches_are_never_taken(self, tmp_path: Path) -> None:
        """A batch of half a million tokens of a model that small takes minutes, one micro-batch milliseconds."""
        changes = [f"{part}.training.batch_tokens=524288" for part in ("teacher", "experts")]
        _, plan = planned(tmp_path, *changes, "teacher.training.tokens=1048576", "experts.training.tokens=1048576")
        started = time.process_time()
        expected = estimate(plan, costs_of(plan), HERE)
        assert time.process_time() - started < 10
        assert expected.rehearsed == 3

    def test_no_time_is_left_for_a_rehearsal(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        rehearsed = Rehearsal(plan, costs_of(plan), "cpu", tmp_path, 1e9, until=time.monotonic())
        assert rehearsed.pace(next(s for s in plan.steps if s.name == "teacher"), 1, 0) is None

    def test_what_a_run_beside_this_one_took_is_known(self, tmp_path: Path) -> None:
        """A second teacher with other seeds, lengths and rates; not one of other batches, and not on other threads."""
        _, plan = planned(tmp_path / "first")
        record(tmp_path / "first", plan, "teacher", tokens_per_second=1000.0)
        changes = ("seed=5", "teacher.training.tokens=40000", "teacher.training.optimizer.lr=1e-4", "name=second")
        _, again = planned(tmp_path / "second", *changes)
        expected = estimate(again, costs_of(again), HERE)
        assert (expected.recorded, expected.rehearsed) == (1, 2)
        assert expected.seconds["teacher"] == pytest.approx(40, rel=0.3)
        other = replace(HERE, threads=2, threads_alone=2)
        assert estimate(again, costs_of(again), other).recorded == 0
        _, another = planned(tmp_path / "second", "teacher.training.micro_batch=4")
        assert estimate(another, costs_of(another), HERE).recorded == 0

    def test_what_is_cached_takes_no_time(self, tmp_path: Path) -> None:
        _, plan = planned(tmp_path)
        done = replace(plan, steps=tuple(replace(step, wanted=False) for step in plan.steps))
        expected = estimate(done, costs_of(done), HERE)
        assert (expected.total, expected.seconds) == (0, {})
