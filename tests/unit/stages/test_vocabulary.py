"""Experts with the tokens that their language needs, from the vocabulary to the evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import EvaluationConfig, ExpertsConfig, RouterConfig, TeacherConfig, VocabularyConfig
from orchestrator.environment import Environment
from orchestrator.errors import ArtifactError, ModelError
from orchestrator.evaluation.mixtures import mixture_losses
from orchestrator.evaluation.respelled import respelled_losses
from orchestrator.models import build_model, head, hidden_states, keep_rows, load_model, parameter_count
from orchestrator.models.inference import Inference, routed_logits
from orchestrator.models.mixture_files import load_mixture
from orchestrator.reporting.vocabulary_section import vocabularies
from orchestrator.stages.base import Expected, Stage
from orchestrator.stages.cache import CacheStage
from orchestrator.stages.evaluation import EvaluationStage
from orchestrator.stages.expert import ExpertStage
from orchestrator.stages.mixture import MixtureStage, check_experts
from orchestrator.stages.router import RouterStage
from orchestrator.stages.teacher import TeacherStage
from orchestrator.stages.vocabulary import VocabularyStage, token_counts
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.kept import Kept, KeptBlocks, vocabulary_of
from orchestrator.tokens.tokenizer import encode, load_tokenizer, save_tokenizer, token_bytes, train_tokenizer
from serve.engine import Engine
from serve.messages import GenerationRequest, Sampling
from serve.precision import own_tokens
from tests.unit.tokens.test_trimming import texts

CONTEXT, VOCABULARY, LANGUAGES = 16, 1500, ("en", "fr")
MODEL = {"type": "gpt2", "layers": 1, "width": 16, "heads": 2}
TRAINING = {
    "tokens": CONTEXT * 8 * 12,
    "batch_tokens": CONTEXT * 8,
    "micro_batch": 4,
    "eval_every": 6,
    "eval_blocks": 4,
    "optimizer": {"type": "adamw", "lr": 0.01},
    "precision": "fp32",
}
KEEP = VocabularyConfig(keep=0.9)


def made(stage: Stage, inputs: Mapping[str, Path], out: Path) -> Path:
    out.mkdir(parents=True)
    stage.run(inputs, out, Environment(work=out.parent / f"{out.name}-work"))
    return out


def expert(language: str = "en", **changes: Any) -> ExpertStage:
    config = {"model": MODEL, "training": TRAINING, "vocabulary": KEEP.model_dump(), **changes}
    return ExpertStage(language=language, experts=ExpertsConfig.model_validate(config), seed=1)


def write_blocks(folder: Path, tokenizer: Path) -> None:
    ids = {lang: np.concatenate(encode(load_tokenizer(tokenizer), texts(lang, 30))) for lang in LANGUAGES}
    splits: dict[str, Any] = {}
    for split, begin, end in (("train", 0, 8000), ("validation", 8000, 9000), ("test", 9000, 10_000)):
        (folder / split).mkdir(parents=True)
        for language, stream in ids.items():
            part = stream[begin:end].astype(np.uint16)
            part.tofile(folder / split / f"{language}.bin")
            count = (len(part) - 1) // CONTEXT
            np.save(folder / split / f"{language}.works.npy", np.arange(count, dtype=np.uint64) // 4)
            splits.setdefault(split, {})[language] = {"tokens": len(part), "blocks": count}
    about = {"context": CONTEXT, "dtype": "uint16", "vocab_size": VOCABULARY, "languages": LANGUAGES, "splits": splits}
    (folder / "blocks.json").write_text(json.dumps(about))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    """Tokenizer and blocks of two languages, a teacher of both, and the vocabularies."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("data")
    save_tokenizer(train_tokenizer([[*texts("en", 30), *texts("fr", 30)]], VOCABULARY), root / "tokenizer")
    write_blocks(root / "blocks", root / "tokenizer")
    found = {"tokenizer": root / "tokenizer", "blocks": root / "blocks"}
    teacher = TeacherConfig.model_validate({"model": MODEL, "training": TRAINING})
    found["teacher"] = made(TeacherStage(teacher=teacher, seed=1), found, root / "teacher")
    for language in LANGUAGES:
        stage = VocabularyStage(language=language, vocabulary=KEEP)
        found[f"vocabulary-{language}"] = made(stage, found, root / f"vocabulary-{language}")
    return found


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> dict[str, Path]:
    """The data, caches of both languages, experts, a router and the mixture."""
    root = tmp_path_factory.mktemp("trained")
    found = dict(data)
    cached = {"distillation": {"teacher": "hidden_cache", "soft": "forward_kl"}}
    for language in LANGUAGES:
        source = PluginSpec(type="hidden_cache")
        stage = CacheStage(language=language, teacher=source, precision="fp32", seed=0)
        found[f"cache-{language}"] = made(stage, found, root / f"cache-{language}")
        found[f"expert-{language}"] = made(expert(language, **cached), found, root / f"expert-{language}")
    router = RouterStage(router=RouterConfig(), languages=LANGUAGES, seed=0)
    found["router"] = made(router, found, root / "router")
    found["mixture"] = made(MixtureStage(setup=PluginSpec(type="ple"), languages=LANGUAGES), found, root / "mixture")
    return found


def test_the_vocabulary_covers_what_was_asked_and_says_so(data):
    about = json.loads((data["vocabulary-en"] / "vocabulary.json").read_text())
    kept = Kept.load(data["vocabulary-en"])
    counts = token_counts(TokenBlocks.open(data["blocks"], "train"), "en")
    assert about["covered"] == counts[kept.kept].sum() / counts.sum() >= 0.9
    assert about["tokens"] == len(kept.kept) < 0.7 * about["of"]
    assert about["of"] == VOCABULARY
    assert about["longer"] > 1


def test_blocks_in_own_rows_are_the_same_blocks(data):
    whole = TokenBlocks.open(data["blocks"], "train")
    own = KeptBlocks(data["blocks"], "train", data["vocabulary-en"])
    rows = np.array([[0, 3], [0, 0]])
    before, after = whole.gather(rows), own.gather(rows)
    dropped = ~np.isin(before, own.kept.kept)
    assert dropped.any()
    assert (after[dropped] == len(own.kept.kept)).all()
    assert (own.kept.kept[after[~dropped]] == before[~dropped]).all()
    assert np.array_equal(own.whole(rows), before)
    assert own.digest("en") == whole.digest("en")


def test_an_expert_has_its_tokens_alone_and_its_own_tokenizer(trained):
    model, kept = load_model(trained["expert-en"] / "model"), vocabulary_of(trained["expert-en"] / "model")
    facts = json.loads((trained["expert-en"] / "training.json").read_text())
    assert kept is not None
    assert len(head(model).weight) == model.config.vocab_size == len(kept.kept)
    assert load_tokenizer(trained["expert-en"] / "model").get_vocab_size() == len(kept.kept)
    assert facts["parameters"] == parameter_count(PluginSpec.model_validate(MODEL), len(kept.kept), CONTEXT)
    assert facts["vocabulary"]["whole_parameters"] == parameter_count(
        PluginSpec.model_validate(MODEL), VOCABULARY, CONTEXT
    )
    assert facts["best_validation_loss"] < 0.97 * np.log(kept.rows)


@pytest.mark.parametrize("source", ["live", "sampled_cache"])
def test_every_source_of_a_teacher_knows_of_it(trained, tmp_path, source):
    """The live teacher reads the text's own tokens, so its losses are those that the cache gives, up to bf16."""
    inputs, distillation = dict(trained), {"teacher": source, "soft": "forward_kl"}
    if source == "sampled_cache":
        stage = CacheStage(language="en", teacher=PluginSpec(type=source), precision="fp32", seed=0)
        inputs["cache-en"] = made(stage, inputs, tmp_path / "cache")
    found = made(expert(distillation=distillation), inputs, tmp_path / "out")
    ours, cached = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (found, trained["expert-en"])
    )
    soft = [[row["soft"] for row in rows if "soft" in row] for rows in (ours, cached)]
    assert soft[0] == pytest.approx(soft[1], rel=2e-3 if source == "live" else 0.25)


def test_a_cache_of_another_vocabulary_is_refused(trained, tmp_path):
    stage = VocabularyStage(language="en", vocabulary=VocabularyConfig(keep=0.5))
    other = {**trained, "vocabulary-en": made(stage, trained, tmp_path / "vocabulary")}
    with pytest.raises(ArtifactError, match="is of another kept"):
        made(expert(distillation={"teacher": "hidden_cache"}), other, tmp_path / "out")


@pytest.mark.parametrize("begin", ["teacher", "pretrained"])
def test_an_expert_that_begins_from_weights_takes_the_rows_of_its_tokens(trained, tmp_path, begin):
    training = {**TRAINING, "optimizer": {"type": "adamw", "lr": 1e-9}}
    changes = {"initialise": "teacher"}
    if begin == "pretrained":
        changes = {"model": {"type": "pretrained", "name": str(trained["teacher"] / "model")}}
    found = made(expert(training=training, **changes), trained, tmp_path / "out")
    kept = Kept.load(trained["vocabulary-en"])
    ours, teacher = (load_model(folder / "model") for folder in (found, trained["teacher"]))
    torch.testing.assert_close(head(ours).weight, head(teacher).weight[kept.kept], rtol=0, atol=1e-6)


def test_a_mixture_is_evaluated_on_the_same_text(trained, tmp_path):
    stage = EvaluationStage(evaluation=EvaluationConfig(bootstrap=100, max_blocks=20), languages=LANGUAGES, seed=5)
    out = made(stage, trained, tmp_path / "out")
    found = json.loads((out / "evaluation.json").read_text())
    for language in LANGUAGES:
        own, other = (found["experts"][name][language]["loss"] for name in (language, *set(LANGUAGES) - {language}))
        assert own < other
        assert found["experts"][language][language]["bits_per_byte"] < 8


def test_losses_are_of_the_blocks_own_text(trained):
    """The definition: the whole text in the expert's tokens, a window after the other, each loss where its text is."""
    blocks, mixture = TokenBlocks.open(trained["blocks"], "test"), load_mixture(trained["mixture"])
    kept, count = Kept.load(trained["vocabulary-en"]), 7
    found = respelled_losses(mixture, {"en": kept}, blocks, "fr", count, batch=2)["en"]
    stream = np.concatenate([blocks.block("fr", 0), *(blocks.block("fr", i)[1:] for i in range(1, count))])
    tables = [token_bytes(load_tokenizer(trained[role])) for role in ("tokenizer",)]
    tables.append(token_bytes(load_tokenizer(trained["vocabulary-en"] / "tokenizer")))
    own, expected, place = kept.spell(stream)[0], np.zeros(count), 0
    assert b"".join(tables[0][token] for token in stream) == b"".join(tables[1][token] for token in own)
    block_of = [place for place, token in enumerate(stream) for _ in kept.spell(np.array([token]))[0]]
    model = mixture.experts["en"]
    for start in range(0, len(own) - 1, CONTEXT):
        window = torch.from_numpy(own[start : start + CONTEXT + 1])
        log_q = head(model).logits(hidden_states(model, window[None, :-1])).log_softmax(-1)[0]
        for place, token in enumerate(window[1:].tolist()):
            if source := block_of[start + 1 + place]:
                expected[(source - 1) // CONTEXT] -= float(log_q[place, token].detach())
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_vocabulary_of_which_nothing_is_dropped_gives_the_losses_of_blocks(trained, tmp_path):
    blocks = TokenBlocks.open(trained["blocks"], "test")
    everything = Kept(np.arange(VOCABULARY), np.arange(VOCABULARY + 1), np.arange(VOCABULARY), {})
    plain = {role: folder for role, folder in trained.items() if not role.startswith("vocabulary-")}
    whole = trained | {"expert-en": made(expert(vocabulary=None), plain, tmp_path / "whole")}
    folder = made(MixtureStage(setup=PluginSpec(type="ple"), languages=("en",)), whole, tmp_path / "mixture")
    mixture = load_mixture(folder)
    exact = mixture_losses(mixture, blocks, "fr", np.ones((9, 1)))["en"]
    for kept in (everything, None):
        np.testing.assert_allclose(respelled_losses(mixture, {"en": kept}, blocks, "fr", 9)["en"], exact, rtol=1e-6)


def test_what_needs_one_vocabulary_is_refused_by_name(trained):
    mixture = load_mixture(trained["mixture"])
    ids = torch.tensor([[5, 9]])
    best = Inference(mode="best").weights(np.array([[0.9, 0.1]]), LANGUAGES, has_common=False)
    assert routed_logits(mixture, ids, torch.from_numpy(best)).shape[-1] == len(
        Kept.load(trained["vocabulary-en"]).kept
    )
    for mode in ("average", "soft"):
        weights = Inference(mode=mode).weights(np.array([[0.9, 0.1]]), LANGUAGES, has_common=False)
        with pytest.raises(ModelError, match="tokens of their own"):
            routed_logits(mixture, ids, torch.from_numpy(weights))


def test_experts_cut_from_different_tokenizers_are_not_mixed(trained, tmp_path):
    import shutil

    other = shutil.copytree(trained["expert-fr"] / "model", tmp_path / "fr")
    about = json.loads((other / "vocabulary.json").read_text())
    (other / "vocabulary.json").write_text(json.dumps({**about, "tokenizer": "0" * 64}))
    check_experts({"en": trained["expert-en"] / "model", "fr": trained["expert-fr"] / "model"})
    with pytest.raises(ModelError, match="different tokenizers"):
        check_experts({"en": trained["expert-en"] / "model", "fr": other})


def test_it_is_served_with_its_own_tokenizer(trained):
    engine = Engine.load(trained["expert-fr"] / "model")
    try:
        request = GenerationRequest("l'été 日本", Sampling(max_tokens=4, temperature=0))
        answer = engine.generate([request])[0]
    finally:
        engine.close()
    assert answer.completion_tokens in range(1, 5)
    assert engine.tokenizer.encode("日本")


def test_the_plan_knows_its_size(trained):
    teacher = PluginSpec.model_validate(MODEL)
    expected = Expected(
        vocab_size=VOCABULARY, context=CONTEXT, languages=2, tokens_per_language=None, teacher=teacher, expert=teacher
    )
    facts = json.loads((trained["expert-en"] / "training.json").read_text())
    known = expert().cost(trained, expected).parameters
    assert 0 < known - facts["parameters"] == MODEL["width"]  # the row of all others
    nothing = dict.fromkeys(trained)
    guessed = expert().cost(nothing, replace(expected, cuts_vocabulary=True)).parameters
    assert guessed < expert().cost(nothing, expected).parameters
    assert VocabularyStage(language="en", vocabulary=KEEP).cost(nothing, expected).tokens == 0


@pytest.mark.parametrize("architecture", ["gpt2", "mistral", "phi", "token_moe"])
def test_rows_are_taken_out_of_every_architecture(architecture):
    sizes = {"layers": 1, "width": 16, "heads": 2}
    options = {"mistral": {**sizes, "kv_heads": 1, "feed_forward": 8}, "token_moe": {"base": MODEL}}
    spec = PluginSpec(type=architecture, **options.get(architecture, sizes))
    model = build_model(spec, 40, 8, 0)
    before, ids = head(model), torch.tensor([[3, 7, 21]])
    exact = before.logits(hidden_states(model, ids)).detach()
    rows = torch.tensor([3, 7, 9, 21])
    weight = before.weight.detach().clone()
    keep_rows(model, rows, rest=True)
    found = head(model).logits(hidden_states(model, torch.tensor([[0, 1, 3]]))).detach()
    torch.testing.assert_close(found[..., :4], exact[..., rows])
    others = [row for row in range(40) if row not in rows]
    torch.testing.assert_close(head(model).weight[4].detach(), weight[others].mean(0))
    keep_rows(model, torch.arange(4))
    assert len(head(model).weight) == model.config.vocab_size == 4
    torch.testing.assert_close(head(model).logits(hidden_states(model, torch.tensor([[0, 1, 3]]))), exact[..., rows])


def test_precisions_are_measured_on_its_own_tokens(trained):
    blocks, kept = TokenBlocks.open(trained["blocks"], "test"), Kept.load(trained["vocabulary-en"])
    row = own_tokens(blocks.block("en", 0), kept)
    assert len(row) == CONTEXT + 1
    assert max(row) < len(kept.kept)
    assert own_tokens(blocks.block("en", 0), None) == blocks.block("en", 0).tolist()


def test_the_report_says_what_is_saved(trained):
    facts = {name: json.loads((trained[f"expert-{name}"] / "training.json").read_text()) for name in LANGUAGES}
    results: Any = {"models": facts, "bits_per_byte": {"own_expert": {"en": 2.5, "fr": 2.25}}}
    (section,) = vocabularies(results)
    (body,) = section.blocks
    share = facts["en"]["parameters"] / facts["en"]["vocabulary"]["whole_parameters"]
    assert body.rows[0][0].text == "expert en"
    assert f"{100 * share:.0f}" in body.rows[0][6].text
    assert vocabularies({**results, "models": {"en": {"parameters": 1}}}) == ()
