"""A study's graph: everything once, named so that a person finds it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.config.loading import load_recipe
from orchestrator.errors import RecipeError
from orchestrator.pipeline.graph import Step, fingerprints, steps_of
from orchestrator.stages.joint import JointStage
from orchestrator.stages.student import StudentStage
from orchestrator.stages.study_report import StudyReportStage

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"


def study(*overrides: str) -> dict[str, Step]:
    return {step.name: step for step in steps_of(load_recipe(RECIPES / "study.yaml", overrides))}


@pytest.fixture(scope="module")
def one_seed() -> dict[str, Step]:
    return study()


def test_every_step_comes_after_its_inputs_and_is_there_once(one_seed):
    seen: set[str] = set()
    for step in one_seed.values():
        assert set(step.inputs.values()) <= seen, step.name
        seen.add(step.name)
    prints = fingerprints(tuple(one_seed.values()))
    repeated = [
        found for found, count in Counter((one_seed[n].place, p) for n, p in prints.items()).items() if count > 1
    ]
    assert not repeated


def test_data_teacher_and_caches_are_shared_by_all_seeds(one_seed):
    three = study("study.seeds=[1,2,3]")
    places = Counter(step.place for step in three.values())
    assert places["corpus"] == places["blocks"] == places["teacher"] == places["router"] == places["cache-en"] == 1
    assert places["joint"] == 3 * Counter(step.place for step in one_seed.values())["joint"]
    assert {name for name in three if name.endswith("@2")} == {
        name.removesuffix("@3") + "@2" for name in three if name.endswith("@3")
    }
    first, all_seeds = fingerprints(tuple(one_seed.values())), fingerprints(tuple(three.values()))
    assert all(all_seeds[name] == found for name, found in first.items() if name not in ("report", "main-report"))


def test_a_trial_that_is_an_expert_of_the_mixture_is_that_expert(one_seed):
    report = one_seed["report"].stage
    assert isinstance(report, StudyReportStage)
    trials = {entry.name: entry.step for entry in report.entries if entry.what == "trial" and entry.language == "en"}
    assert trials["rq1: fixed 0.5"] == trials["recipe: ours"] == "expert-en"
    assert trials["rq1: fixed 0.1"] not in ("expert-en", trials["rq1: fixed 0.3"])
    assert set(one_seed["report"].inputs) >= {entry.step for entry in report.entries}


def test_forgetting_goes_on_from_session_to_session(one_seed):
    for kind in ("sequential", "sequential-jeet", "sequential-moe_ce"):
        previous = None
        for language in ("en", "fr", "de", "py"):
            step = one_seed[f"{kind}-{language}"]
            assert step.inputs.get("initial") == previous
            assert isinstance(step.stage, StudentStage | JointStage)
            assert step.stage.experts.training.publish == "last"
            previous = step.name
    added, frozen = one_seed["added-jeet-py"].stage, one_seed["added-frozen-jeet-py"].stage
    assert isinstance(added, JointStage)
    assert isinstance(frozen, JointStage)
    assert (added.learn, added.freeze_shared, frozen.freeze_shared) == (("py",), False, True)
    assert one_seed["added-jeet-py"].inputs["initial"] == "before-jeet"
    assert "together-jeet" not in one_seed, "it is the training of the mixture"


def test_a_study_of_less_has_fewer_steps():
    steps = study("study={setups: {ple: ple}, forgetting: false}")
    assert {step.place for step in steps.values()} >= {"mixture", "evaluation", "report", "study"}
    assert not [step for step in steps.values() if isinstance(step.stage, JointStage | StudentStage)]


def test_the_main_line_may_be_of_another_setup():
    steps = study("setup=jeet", "study.setups={jeet: jeet, ple: ple}")
    assert steps["mixture"].inputs["joint"] == "joint"
    assert steps["merged"].inputs["expert-fr"] == "expert-fr"
    assert set(steps["mixture-ple"].inputs) == {"router", "expert-en", "expert-fr", "expert-de", "expert-py"}
    alone = study("setup=jeet", "study.setups={jeet: jeet}")
    assert alone["merged"].inputs["expert-fr"] == "expert-fr"
    assert [name for name in alone if name.startswith("evaluation")] == ["evaluation"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("study.seeds=[1,1]", "a seed is there twice"),
        ("study.baselines={ple: {}}", "ple is the name of a setup and of a baseline"),
        ("study.baselines={x: {initialise: branch_train_mix}}", "need model: token-moe"),
        ("study.setups={x: plee}", 'did you mean "ple"'),
        ("study.sweeps={rq1: nowhere.yaml}", "can't be read"),
        ("study.sweeps={rq1: {configurations: {a: {}, b: {experts.training.tokns: 3}}}}", "tokns"),
    ],
)
def test_bad_studies_are_refused(override, message):
    with pytest.raises(RecipeError, match=message):
        study(override)
