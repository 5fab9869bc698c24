"""Growing a mixture: which steps there are, what they rest on, and what is refused before any begins."""

import json

import pytest

from orchestrator.artifacts import Store
from orchestrator.config.recipe import Recipe
from orchestrator.errors import CorpusError, ModelError, MomeError, RecipeError
from orchestrator.mixtures.change import Change
from orchestrator.mixtures.growth import plan_growth
from orchestrator.mixtures.versions import Versions

CONTEXT, VOCABULARY = 16, 300
GPT2 = {"type": "gpt2", "layers": 1, "width": 16, "heads": 2}


def recipe(**sections):
    model = {"model": GPT2, "training": {"tokens": 640, "batch_tokens": 64, "micro_batch": 2}}
    tree = {
        "name": "run",
        "corpus": {"languages": {name: {"source": "miniwiki"} for name in ("en", "fr", "de")}},
        "tokenizer": {"vocab_size": VOCABULARY},
        "blocks": {"context": CONTEXT},
        "teacher": model,
        "experts": {**model, "distillation": {"teacher": "hidden_cache"}},
    }
    return Recipe.model_validate(tree | sections).model_dump(mode="json")


def write_blocks(out):
    counts = {name: {"tokens": 500} for name in ("en", "fr", "de")}
    about = {"splits": dict.fromkeys(("train", "validation", "test"), counts)}
    (out / "blocks.json").write_text(json.dumps(about))


def version_of(store, recipe):
    """A version whose parts are empty but for what planning reads."""
    joint = recipe["setup"]["type"] != "ple"
    experts = ["joint"] if joint else [f"expert-{language}" for language in recipe["corpus"]["languages"]]
    parts = {
        name: store.publish(name, name.ljust(64, "0"), {}, write_blocks if name == "blocks" else lambda out: None)
        for name in ("corpus", "tokenizer", "blocks", "teacher", *experts, "router", "mixture", "evaluation", "report")
    }
    return Versions(store.root).publish("trained", None, recipe, parts)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "run")


@pytest.fixture
def version(store):
    return version_of(store, recipe())


@pytest.fixture
def spanish(tmp_path):
    folder = tmp_path / "es"
    folder.mkdir()
    (folder / "one.txt").write_text("La casa está cerca del río.")
    return {"source": {"type": "files", "path": str(folder)}, "kind": "prose"}


def steps(growth):
    return {planned.name: planned.step for planned in growth.plan.missing}


def given(growth):
    return {planned.name for planned in growth.plan.steps if planned.artifact}


DATA = ["corpus-es", "tokens-es", "blocks-es", "corpus", "blocks"]
END = ["router", "mixture", "evaluation", "report"]


def test_a_new_expert_is_made_from_its_own_blocks_and_the_rest_is_given(store, version, spanish):
    growth = plan_growth(Change("add", "es", spanish), version, store)
    made = steps(growth)
    assert list(made) == [*DATA, "cache-es", "expert-es", *END]
    assert given(growth) >= {"tokenizer", "teacher", "expert-en", "expert-fr", "expert-de", "blocks of version 1"}
    assert made["expert-es"].inputs["blocks"] == made["cache-es"].inputs["blocks"] == "blocks-es"
    assert made["blocks"].inputs == {"blocks": "blocks of version 1", "blocks-es": "blocks-es"}
    assert made["router"].inputs["blocks"] == "blocks"
    assert made["router"].stage.languages == ("en", "fr", "de", "es")
    assert made["mixture"].inputs.keys() >= {"router", "expert-en", "expert-es"}
    assert made["blocks-es"].stage.most == {"train": 500, "validation": 500, "test": 500}
    assert set(growth.kept) == {"tokenizer", "teacher", "expert-en", "expert-fr", "expert-de"}


def test_a_new_expert_has_a_vocabulary_of_its_own_where_the_others_have(store, spanish):
    cut = recipe()
    cut["experts"]["vocabulary"] = {"keep": 0.99}
    growth = plan_growth(Change("add", "es", spanish), version_of(store, cut), store)
    made = steps(growth)
    assert list(made) == [*DATA, "vocabulary-es", "cache-es", "expert-es", *END]
    assert made["vocabulary-es"].inputs == {"blocks": "blocks-es", "tokenizer": "tokenizer"}
    assert made["expert-es"].inputs["vocabulary-es"] == made["cache-es"].inputs["vocabulary-es"] == "vocabulary-es"


def test_code_that_has_changed_makes_nothing_again(store, version, spanish, monkeypatch):
    monkeypatch.setattr("orchestrator.stages.base.Stage.version", 2)
    growth = plan_growth(Change("add", "es", spanish), version, store)
    assert list(steps(growth)) == [*DATA, "cache-es", "expert-es", *END]


def test_a_removed_expert_leaves_a_router_of_the_others(store, version):
    growth = plan_growth(Change("remove", "fr"), version, store)
    made = steps(growth)
    assert list(made) == ["corpus", "blocks", *END]
    assert made["blocks"].inputs == {"blocks": "blocks of version 1"}
    assert made["router"].stage.languages == made["blocks"].stage.languages == ("en", "de")
    assert "expert-fr" not in made["mixture"].inputs
    assert set(growth.kept) == {"tokenizer", "teacher", "expert-en", "expert-de"}


def test_an_expert_trained_anew_on_the_same_text_keeps_the_router(store, version):
    growth = plan_growth(Change("replace", "fr", overrides=("seed=5",)), version, store)
    made = steps(growth)
    assert list(made) == ["cache-fr", "expert-fr", "mixture", "evaluation", "report"]
    assert made["expert-fr"].stage.seed == 5
    assert made["expert-fr"].inputs["blocks"] == "blocks"
    assert {"router", "blocks", "corpus"} <= set(growth.kept)


def test_an_expert_from_other_text_gets_a_new_router(store, version, spanish):
    made = steps(plan_growth(Change("replace", "fr", spanish), version, store))
    assert {"blocks-fr", "router", "expert-fr"} <= set(made)
    assert made["blocks"].stage.languages == ("en", "fr", "de")


@pytest.mark.parametrize("setup", ["jeet", "moe_ce"])
def test_joint_mixtures_learn_the_new_language_and_nothing_else(store, spanish, setup):
    version = version_of(store, recipe(setup=setup))
    made = steps(plan_growth(Change("add", "es", spanish), version, store))
    stage = made["joint"].stage
    assert (stage.learn, stage.freeze_shared, stage.languages) == (("es",), True, ("en", "fr", "de", "es"))
    assert made["joint"].inputs["initial"] == "mixture of version 1"
    assert made["joint"].inputs["blocks"] == "blocks"
    assert [role for role in made["joint"].inputs if role.startswith("cache-")] == ["cache-es"]
    assert not [name for name in made if name.startswith("expert-")]


def test_joint_mixtures_are_taken_apart_to_lose_or_replace_an_expert(store):
    version = version_of(store, recipe(setup="jeet"))
    growth = plan_growth(Change("remove", "fr"), version, store)
    assert list(steps(growth)) == ["corpus", "blocks", "joint", *END]
    assert steps(growth)["joint"].stage.languages == ("en", "de")
    made = steps(plan_growth(Change("replace", "fr", overrides=("seed=5",)), version, store))
    assert list(made) == ["joint-others", "cache-fr", "joint", "mixture", "evaluation", "report"]
    assert made["joint"].inputs["initial"] == "joint-others"
    assert made["joint"].stage.languages == made["mixture"].stage.languages == ("en", "de", "fr")


def test_what_is_set_for_one_expert_is_not_the_mixture_s(store, version, spanish):
    overrides = ("experts.training.tokens=320", "evaluation.bootstrap=200", "seed=9", "resources.threads=1")
    growth = plan_growth(Change("add", "es", spanish, overrides=overrides), version, store)
    assert steps(growth)["expert-es"].stage.experts.training.tokens == 320
    parts = {name: version.part(name) for name in version.parts}
    grown = growth.publish(parts | {"expert-es": store.publish("expert-es", "e" * 64, {}, lambda out: None)})
    assert grown.languages == ("en", "fr", "de", "es")
    assert (grown.action, grown.parent) == ("add es", 1)
    kept = Recipe.model_validate(grown.recipe)
    assert (kept.experts.training.tokens, kept.seed, kept.evaluation.bootstrap) == (640, 17, 200)
    assert kept.resources.threads is None
    assert kept.corpus.languages["es"].source.options["path"] == spanish["source"]["path"]


def test_a_given_teacher_teaches_the_new_expert_alone(store, version, spanish, tmp_path):
    teacher = write_teacher(tmp_path / "teacher")
    growth = plan_growth(Change("add", "es", spanish, teacher=str(teacher)), version, store)
    made = steps(growth)
    assert made["teacher-es"].inputs["blocks"] == "blocks-es"
    assert made["expert-es"].inputs["teacher"] == made["cache-es"].inputs["teacher"] == "teacher-es"
    assert made["evaluation"].inputs["teacher"] == "teacher"


def write_teacher(folder, vocab_size=VOCABULARY):
    from orchestrator.config.base import PluginSpec
    from orchestrator.models import build_model

    spec = PluginSpec(type="gpt2", layers=1, width=16, heads=2)
    build_model(spec, vocab_size, CONTEXT, 1).save_pretrained(folder)
    return folder


def test_a_teacher_of_another_vocabulary_is_refused(store, version, spanish, tmp_path):
    teacher = write_teacher(tmp_path / "teacher", vocab_size=VOCABULARY + 1)
    with pytest.raises(ModelError, match=r"301 rows for tokens(.|\n)*--teacher"):
        plan_growth(Change("add", "es", spanish, teacher=str(teacher)), version, store)


def test_a_teacher_of_another_tokenizer_is_refused(store, spanish, tmp_path):
    from orchestrator.tokens.tokenizer import save_tokenizer, train_tokenizer

    save_tokenizer(train_tokenizer([["the house by the river, the house"] * 9], 265), tmp_path / "ours")
    run = recipe(tokenizer={"vocab_size": 265})
    version = version_of(store, run)
    for file in (tmp_path / "ours").iterdir():
        (version.folder / "tokenizer" / file.name).write_bytes(file.read_bytes())
    teacher = write_teacher(tmp_path / "teacher", vocab_size=265)
    save_tokenizer(train_tokenizer([["la casa junto al agua, la casa"] * 9], 265), teacher)
    with pytest.raises(ModelError, match=r"259 is .as. to it, .he. here(.|\n)*--teacher, .*teacher/tokenizer.json"):
        plan_growth(Change("add", "es", spanish, teacher=str(teacher)), version, store)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change("add", "fr", {"source": "miniwiki"}), "has an expert for 'fr'"),
        (Change("add", "Español", {"source": "miniwiki"}), "no name for a language"),
        (Change("add", "../es", {"source": "miniwiki"}), "no name for a language"),
        (Change("remove", "es"), "no expert for 'es'"),
        (Change("replace", "es", overrides=("seed=2",)), "no expert for 'es'"),
        (Change("replace", "fr"), "nothing is said to be different"),
        (Change("add", "es", {"source": "filez"}), "filez"),
        (Change("add", "es", {"source": "miniwiki", "kind": "poetry"}), "kind"),
        (Change("add", "es", {"source": "miniwiki"}, overrides=("experts.trainig.tokens=5",)), "training"),
        (Change("add", "es", {"source": "miniwiki"}, overrides=("tokenizer.vocab_size=400",)), "tokenizer is the same"),
        (Change("add", "es", {"source": "miniwiki"}, overrides=("blocks.context=32",)), "blocks.context is the same"),
        (Change("replace", "fr", overrides=("teacher.training.tokens=9999",)), "teacher is the same"),
        (Change("replace", "fr", overrides=("corpus.languages.de.kind=code",)), "corpus is the same"),
        (Change("replace", "fr", overrides=("setup=jeet",)), "setup is the same"),
        (Change("replace", "fr", teacher="x", overrides=("experts.distillation={soft: null}",)), "without a teacher"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_changes_are_refused(store, version, change, said):
    with pytest.raises(RecipeError, match=said):
        plan_growth(change, version, store)


def test_the_last_expert_stays(store):
    version = version_of(store, recipe(corpus={"languages": {"en": {"source": "miniwiki"}}}))
    with pytest.raises(RecipeError, match=r"last expert(.|\n)*add another"):
        plan_growth(Change("remove", "en"), version, store)


def test_joint_experts_have_one_width_and_independent_ones_any(store, version, tmp_path, spanish):
    change = Change("add", "es", spanish, overrides=("experts.model.width=32",))
    assert plan_growth(change, version, store)
    joint = version_of(Store(tmp_path / "joint"), recipe(setup="jeet"))
    with pytest.raises(RecipeError, match=r"experts\.model is the same"):
        plan_growth(change, joint, store)


def test_a_source_that_is_not_there(store, version):
    with pytest.raises(CorpusError, match="no/such/folder"):
        plan_growth(Change("add", "es", {"source": {"type": "files", "path": "no/such/folder"}}), version, store)


def test_a_part_that_lacks_a_file_is_told_before_anything_begins(store, version, spanish):
    (version.folder / "teacher" / "manifest.json").unlink()
    with pytest.raises(MomeError, match=r"version 1 is not whole(.|\n)*teacher"):
        plan_growth(Change("add", "es", spanish), version, store)


def test_experts_with_other_tokens_than_their_teacher_stay_as_they_are(store):
    aligned = recipe(teacher={"model": {"type": "pretrained", "name": "elsewhere"}, "train": False})
    aligned["tokenizer"] = {"vocab_size": VOCABULARY}
    aligned["experts"]["distillation"]["alignment"] = {"type": "spans"}
    with pytest.raises(RecipeError, match="other tokens than the teacher's can't be changed"):
        plan_growth(Change("remove", "fr"), version_of(store, aligned), store)
