from pathlib import Path

import pytest

from orchestrator.config.base import build
from orchestrator.config.loading import load_recipe
from orchestrator.errors import RecipeError

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"
MINIMAL = """\
name: small
corpus:
  languages:
    en: {source: miniwiki}
teacher: {model: gpt2-nano}
experts:
  model: {type: gpt2, layers: 1, width: 8, heads: 2}
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def refusal(path, *overrides):
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_defaults_are_filled_and_models_are_frozen(write):
    recipe = load_recipe(write(MINIMAL))
    assert recipe.experts.distillation.soft.type == "forward_kl"
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3


def test_overrides_are_dotted_yaml_and_reach_into_plugins(write):
    recipe = load_recipe(write(MINIMAL), ["seed=3", "experts.distillation.soft.temperature=2", "blocks.context=64"])
    assert (recipe.seed, recipe.blocks.context) == (3, 64)
    assert build("losses", recipe.experts.distillation.soft).temperature == 2.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "sead: 3\n", ["recipe.yaml:8", "sead", 'did you mean "seed"?']),
        (MINIMAL + "blocks:\n  contxt: 3\n", ["recipe.yaml:9", "blocks.contxt", 'did you mean "context"?']),
        (
            MINIMAL.replace("corpus:", "corpus:\n  splits: {validation: 0.5, test: 0.5}"),
            ["recipe.yaml:3", "corpus.splits", "validation + test = 1 leaves nothing to train on"],
        ),
        (MINIMAL + "blocks: {context: abc}\n", ["recipe.yaml:8", "blocks.context", "integer", "'abc'"]),
        (MINIMAL.replace("miniwiki", "miniwikki"), ["recipe.yaml:4", 'did you mean "miniwiki"?']),
        (MINIMAL.replace("gpt2-nano", "gpt2-nanno"), ["recipe.yaml:5", 'did you mean "gpt2-nano"?']),
        (MINIMAL.replace("layers", "layerz"), ["recipe.yaml:7", 'did you mean "layers"?']),
        (MINIMAL.replace("{model: gpt2-nano}", "{}"), ["recipe.yaml:5", "teacher.model", "required"]),
        (MINIMAL.replace("en:", "en: {source: miniwiki, kind: poem}\n    fr:"), ["recipe.yaml:4", "kind", "'poem'"]),
        (MINIMAL + "seed: 1\nseed: 2\n", ["recipe.yaml:9", "twice"]),
        ("name: [", ["recipe.yaml", "not valid YAML"]),
        ("- a\n", ["mapping"]),
        (MINIMAL.replace("gpt2-nano", "{type: pretrained, name: ''}"), ["recipe.yaml:5", "teacher.model.name"]),
        (MINIMAL + "tokenizer: {path: ''}\n", ["recipe.yaml:8", "tokenizer.path"]),
        (
            MINIMAL.replace("gpt2-nano", "gpt2-nano, train: false"),
            ["recipe.yaml:5", "teacher", "'gpt2-nano' is neither pretrained nor to be trained"],
        ),
        (
            MINIMAL + "resources: {storage: 'foo://me:secret@x'}\n",
            ["recipe.yaml:8", "resources.storage: foo://…@x: this is no address of a store", "s3://BUCKET"],
        ),
        (MINIMAL + "description: ${NO_SUCH_VARIABLE}\n", ["NO_SUCH_VARIABLE", "not set"]),
    ],
)
def test_mistakes_are_refused_with_line_and_remedy(write, text, said):
    message = refusal(write(text))
    for part in said:
        assert part in message


def test_all_mistakes_are_said_at_once(write):
    message = refusal(write(MINIMAL + "sead: 3\nblocks: {context: 1}\n"))
    assert "sead" in message
    assert "blocks.context" in message


def test_a_missing_file_and_a_bad_override(write, tmp_path):
    assert "can't be read" in refusal(tmp_path / "none.yaml")
    assert "KEY=VALUE" in refusal(write(MINIMAL), "seed")
    assert 'did you mean "seed"' in refusal(write(MINIMAL), "seeed=3")
    assert "argument of its own" in refusal(write(MINIMAL), ["seed=3"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed =3", """override seed =…: 'seed ': unknown key; did you mean "seed"?"""),
        (" seed=3", """' seed': unknown key; did you mean "seed"?"""),
        ("experts.training.tokens =3", """experts.training.'tokens ': unknown key; did you mean "tokens"?"""),
        ("experts .training.tokens=3", "'experts ': unknown key"),
        ("a/b=1", ": a/b: unknown key; known: name"),
        ("seed[0]=1", ": seed[0]: unknown key"),
        (".=1", "KEY=VALUE, not '.=1'"),
        ("experts..x=1", "KEY=VALUE, not 'experts..x=1'"),
    ],
)
def test_a_typing_error_in_a_key_is_told_as_it_was_typed(write, override, said):
    assert said in refusal(write(MINIMAL), override)


def test_environment_variables_with_defaults(write, monkeypatch):
    monkeypatch.setenv("HERE", "there")
    assert load_recipe(write(MINIMAL + "description: ${HERE} ${NOWHERE:-or not}\n")).description == "there or not"


@pytest.mark.parametrize(
    "path", sorted(p for p in RECIPES.glob("*.yaml") if "\nseeds:" not in p.read_text()), ids=lambda p: p.stem
)
def test_shipped_recipes_are_valid(path):
    assert load_recipe(path).name == path.stem


@pytest.mark.parametrize(
    "overrides",
    [
        ("router.reject=best",),
        ("router.reject=error",),
        ("router.reject=en",),
        ("router.reject=common", "setup=moe_ce"),
    ],
)
def test_policies_for_rejected_text(write, overrides):
    assert load_recipe(write(MINIMAL), overrides).router.reject == overrides[0].partition("=")[2]


def test_rejected_text_must_have_somewhere_to_go(write):
    assert "'es' is no policy and no language here; one of best, common, error, en" in refusal(
        write(MINIMAL), "router.reject=es"
    )
    assert "ple has no common expert; set setup: moe_ce" in refusal(write(MINIMAL), "router.reject=common")


class TestBase:
    """A recipe that changes another."""

    @staticmethod
    def write(folder: Path, text: str) -> Path:
        (folder / "base.yaml").write_text(MINIMAL_BASE)
        (folder / "mine.yaml").write_text(text)
        return folder / "mine.yaml"

    def test_takes_over_what_it_does_not_change(self, tmp_path):
        path = self.write(tmp_path, "base: base.yaml\nname: mine\nexperts: {training: {tokens: 5}}\n")
        recipe = load_recipe(path, ["seed=9"])
        assert (recipe.name, recipe.seed, recipe.experts.training.tokens) == ("mine", 9, 5)
        assert recipe.experts.training.micro_batch == 3
        assert recipe.experts.distillation.schedule.options == {"alpha": 0.2}

    def test_another_plugin_comes_without_the_options_of_the_one_before(self, tmp_path):
        text = "base: base.yaml\nname: mine\nexperts: {distillation: {schedule: {type: alternating}}}\n"
        schedule = load_recipe(self.write(tmp_path, text)).experts.distillation.schedule
        assert (schedule.type, schedule.options) == ("alternating", {})

    def test_a_missing_base_is_named(self, tmp_path):
        with pytest.raises(RecipeError, match="can't be read") as caught:
            load_recipe(self.write(tmp_path, "base: nowhere.yaml\nname: mine\n"))
        assert "nowhere.yaml" in caught.value.where

    def test_a_studys_sweep_may_be_a_file_with_fields_on_top(self, tmp_path):
        (tmp_path / "rq1.yaml").write_text(
            "name: rq1\nbase: base.yaml\nseeds: [4]\nconfigurations: {a: {}, b: {experts.distillation.soft: null}}\n"
        )
        text = (
            "base: base.yaml\nname: mine\n"
            "study: {type: paper, sweeps: {rq1: rq1.yaml, more: {file: rq1.yaml, languages: [fr]}}}\n"
        )
        study = load_recipe(self.write(tmp_path, text)).study
        assert study is not None
        sweeps = build("study", study).sweeps
        assert list(sweeps["rq1"].configurations) == ["a", "b"]
        assert (sweeps["rq1"].languages, sweeps["more"].languages) == ((), ("fr",))

    def test_what_is_wrong_deep_in_a_plugin_is_told_with_its_line(self, tmp_path):
        text = "base: base.yaml\nname: mine\nstudy:\n  type: paper\n  baselines:\n    more: {}\n    no: {tokns: 5}\n"
        with pytest.raises(RecipeError, match=r":7: study\.baselines\.no\.tokns: unknown key"):
            load_recipe(self.write(tmp_path, text))
        with pytest.raises(RecipeError, match=r":7: study\.baselines\.no: tokens: 0 is for initialise: average"):
            load_recipe(self.write(tmp_path, text.replace("tokns: 5", "tokens: 0")))

    def test_a_study_without_a_type_is_told_which_one_has_its_options(self, tmp_path):
        path = self.write(tmp_path, "base: base.yaml\nname: mine\nstudy: {setups: {ple: ple}}\n")
        with pytest.raises(RecipeError, match=r":3: study: the type is missing: add type: paper"):
            load_recipe(path)

    @pytest.mark.parametrize("language", ["common", "shared", "teacher", "auto", "none", "error"])
    def test_names_that_mean_something_else_are_no_languages(self, tmp_path, language):
        text = f"base: base.yaml\nname: mine\ncorpus: {{languages: {{{language}: {{source: miniwiki}}}}}}\n"
        with pytest.raises(RecipeError, match="means something else"):
            load_recipe(self.write(tmp_path, text))


MINIMAL_BASE = """
name: base
corpus: {languages: {en: {source: miniwiki}, fr: {source: miniwiki}}}
teacher: {model: gpt2-nano}
experts:
  model: gpt2-nano
  training: {micro_batch: 3}
  distillation: {schedule: {type: fixed, alpha: 0.2}}
"""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("name: a".encode("utf-16"), r"not UTF-8[\s\S]*iconv -f UTF-16"),
        (b"a: 1\nname: \xf1", r"not UTF-8[\s\S]*:2[\s\S]*iconv -f WINDOWS-1252"),
        (b"name: a\ncorpus:\n\tlanguages: {}", r"'\\t'[\s\S]*:3[\s\S]*indent with spaces"),
        (b"name: a\0b", r"not valid YAML: [^\n]*\n[\s\S]*quote"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, data, said):
    (tmp_path / "r.yaml").write_bytes(data)
    with pytest.raises(RecipeError, match=said):
        load_recipe(tmp_path / "r.yaml")


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match="can't be read: Is a directory"):
        load_recipe(tmp_path)


def test_what_an_override_sets_is_not_blamed_on_the_file(write):
    path = write("name: a\nexperts: {model: gpt2-nano}\n")
    assert "override seed=…: seed:" in refusal(path, "seed=x")
    said = refusal(path, "experts.model.wdth=3")
    assert f"{path}:2, with the override experts.model.wdth=…: experts.model:" in said


def test_a_misspelt_file_is_told_with_those_beside_it(write):
    path = write("name: a\n")
    assert f'did you mean "{path.name}"? in {path.parent}' in refusal(path.with_name(path.name.replace(".", "s.")))
