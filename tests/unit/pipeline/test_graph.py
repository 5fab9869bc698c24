from pathlib import Path

import pytest

from orchestrator.artifacts import Store
from orchestrator.config.loading import load_recipe
from orchestrator.errors import ModelError, RecipeError
from orchestrator.pipeline.graph import code_of, fingerprints, steps_of
from orchestrator.pipeline.plan import make_plan

SMOKE = Path(__file__).resolve().parents[3] / "jobs" / "recipes" / "smoke.yaml"
ALL = ["corpus", "tokenizer", "tokens", "blocks", "teacher"]
CACHES = ["cache-en", "cache-fr", "cache-de", "cache-py"]
EXPERTS = ["expert-en", "expert-fr", "expert-de", "expert-py"]
END = ["mixture", "evaluation", "report"]


def prints(*overrides):
    return fingerprints(steps_of(load_recipe(SMOKE, overrides)))


@pytest.fixture(scope="module")
def before():
    return prints()


def test_steps_come_after_their_inputs():
    seen = set()
    for step in steps_of(load_recipe(SMOKE)):
        assert set(step.inputs.values()) <= seen
        seen.add(step.name)
    assert seen == {*ALL, *CACHES, *EXPERTS, "router", *END}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("evaluation.bootstrap=300", END[1:]),
        ("router.sequences_per_language=99", ["router", *END]),
        ("experts.distillation.schedule.alpha=0.3", [*EXPERTS, *END]),
        ("experts.distillation.teacher=live", [*CACHES, *EXPERTS, *END]),
        ("experts.training.seed=4", [*EXPERTS, *END]),
        ("teacher.training.tokens=50000", ["teacher", *CACHES, *EXPERTS, *END]),
        ("blocks.context=32", ["blocks", "teacher", *CACHES, *EXPERTS, "router", *END]),
        ("tokenizer.vocab_size=900", [*ALL[1:], *CACHES, *EXPERTS, "router", *END]),
        ("corpus.min_characters=90", [*ALL, *CACHES, *EXPERTS, "router", *END]),
        ("description=other", ["report"]),
        ("resources.slots=1", []),
        ("tracking.type=none", []),
    ],
)
def test_a_change_reruns_exactly_what_depends_on_it(before, override, changed):
    after = prints(override)
    differing = [name for name in {**before, **after} if after.get(name) != before.get(name)]
    assert sorted(differing) == sorted(changed)


def test_a_stage_depends_on_the_source_of_its_plugins_alone():
    steps = {step.name: step for step in steps_of(load_recipe(SMOKE))}
    expert, teacher = code_of(steps["expert-en"].stage), code_of(steps["teacher"].stage)
    assert "orchestrator.losses.forward_kl" in expert
    assert "orchestrator.losses.reverse_kl" not in expert
    assert not [module for module in teacher if module.startswith("orchestrator.reporting")]


def test_a_joint_setup_trains_its_experts_in_one_step():
    steps = {step.name: step for step in steps_of(load_recipe(SMOKE, ["setup=jeet"]))}
    assert set(steps) == {*ALL, *CACHES, "joint", "router", *END}
    assert steps["mixture"].inputs == {"joint": "joint", "router": "router"}
    assert set(steps["joint"].inputs) == {"blocks", "tokenizer", "teacher", *CACHES}


OWN = ["vocabulary-en", "vocabulary-fr", "vocabulary-de", "vocabulary-py"]


def test_a_vocabulary_of_its_own_is_a_step_that_caches_and_experts_read(before):
    steps = {step.name: step for step in steps_of(load_recipe(SMOKE, ["experts.vocabulary.keep=0.99"]))}
    assert set(steps) == {*ALL, *OWN, *CACHES, *EXPERTS, "router", *END}
    assert steps["vocabulary-fr"].inputs == {"blocks": "blocks", "tokenizer": "tokenizer"}
    for name in ("cache-fr", "expert-fr"):
        assert [role for role in steps[name].inputs if role in OWN] == ["vocabulary-fr"]
    after = prints("experts.vocabulary.keep=0.99")
    assert {name for name in before if after[name] != before[name]} == {*CACHES, *EXPERTS, *END}
    assert {name for name, found in prints("experts.vocabulary.keep=0.9").items() if found == after[name]} == {
        *ALL,
        "router",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("setup=jeet", "experts of jeet share layers"),
        ("setup=moe_ce", "experts of moe_ce share layers"),
        ("study={type: paper, seeds: [1]}", "the study paper compares experts of one vocabulary"),
        ("experts.vocabulary.keep=1.5", "keep"),
    ],
)
def test_a_vocabulary_of_its_own_is_refused_where_experts_share_one(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(SMOKE, ["experts.vocabulary.keep=0.99", override])


def test_a_cache_of_what_is_drawn_is_another_for_other_trainings():
    drawn = "experts.distillation.cache=drawn"

    def prints(*overrides):
        return fingerprints(steps_of(load_recipe(SMOKE, list(overrides))))

    whole, few = prints(), prints(drawn)
    assert {name for name in whole if few[name] != whole[name]} == {*CACHES, *EXPERTS, *END}
    for override in ("tokens=1000", "batch_tokens=64", "seed=5", "sampling=balanced"):
        other = prints(drawn, f"experts.training.{override}")
        assert all(other[name] != few[name] for name in CACHES)
        assert all(prints(f"experts.training.{override}")[name] == whole[name] for name in CACHES)
    same = prints(drawn, "experts.training.optimizer.lr=1e-5")
    assert all(same[name] == few[name] for name in CACHES)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("setup=jeet", "experts of jeet are trained together; set cache: whole"),
        ("study={type: paper, seeds: [1]}", "the trainings of a study share their caches; set cache: whole"),
        ("experts.distillation.cache=few", "whole"),
    ],
)
def test_a_cache_of_what_is_drawn_is_refused_where_others_read_it(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(SMOKE, ["experts.distillation.cache=drawn", override])


ALIGNED = [
    "teacher={model: {type: pretrained, name: elsewhere}, train: false}",
    "tokenizer={vocab_size: 300}",
    "experts.distillation.alignment=spans",
]


def test_a_teacher_of_other_tokens_has_a_tokenizer_of_its_own_and_is_laid_beside_the_blocks():
    steps = {step.name: step for step in steps_of(load_recipe(SMOKE, ALIGNED))}
    laid = [f"alignment-{language}" for language in ("en", "fr", "de", "py")]
    assert set(steps) == {*ALL, "teacher-tokenizer", "teacher-tokens", *laid, *CACHES, *EXPERTS, "router", *END}
    assert steps["teacher"].inputs["tokenizer"] == "teacher-tokenizer"
    assert steps["tokens"].inputs["tokenizer"] == steps["expert-fr"].inputs["tokenizer"] == "tokenizer"
    for name in ("cache-fr", "expert-fr"):
        assert [role for role in steps[name].inputs if role in laid] == ["alignment-fr"]
    assert set(laid) <= set(steps["evaluation"].inputs)
    joint = {step.name: step for step in steps_of(load_recipe(SMOKE, [*ALIGNED, "setup=jeet"]))}
    assert set(laid) <= set(joint["joint"].inputs)


def test_experts_that_can_not_begin_as_their_teacher_are_told_before_there_is_one(tmp_path):
    model = "experts.model={type: gpt2, layers: 9, width: 32, heads: 2}"
    plan = make_plan(load_recipe(SMOKE, ["experts.initialise=teacher", model]), Store(tmp_path))
    with pytest.raises(ModelError, match="the student has 9 layers, its teacher only"):
        plan.cost(next(planned for planned in plan.steps if planned.name == "expert-fr"))
