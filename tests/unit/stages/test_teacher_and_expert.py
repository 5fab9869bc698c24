"""Teacher and expert stages on tiny models: what they write, cost and refuse."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ExpertsConfig, TeacherConfig
from orchestrator.environment import Environment
from orchestrator.errors import ModelError, TrainingError, VocabularyError
from orchestrator.models import build_model, load_model, parameter_count, save_model, weights_digest
from orchestrator.stages.base import Expected
from orchestrator.stages.expert import ExpertStage
from orchestrator.stages.teacher import TeacherStage
from orchestrator.tokens.tokenizer import save_tokenizer, train_tokenizer

CONTEXT, VOCABULARY = 16, 60
EXPECTED = Expected(
    vocab_size=512, context=CONTEXT, languages=2, tokens_per_language=None, teacher=PluginSpec(type="gpt2_nano")
)
MODEL = {"type": "gpt2", "layers": 1, "width": 16, "heads": 2}
TRAINING = {
    "tokens": CONTEXT * 8 * 10,
    "batch_tokens": CONTEXT * 8,
    "micro_batch": 4,
    "eval_every": 5,
    "eval_blocks": 4,
    "optimizer": {"type": "adamw", "lr": 0.01},
}


def teacher_stage(**changes: Any) -> TeacherStage:
    return TeacherStage(teacher=TeacherConfig.model_validate({"model": MODEL, "training": TRAINING, **changes}), seed=1)


def expert_stage(language: str = "fr", **changes: Any) -> ExpertStage:
    config = {"model": MODEL, "training": TRAINING, **changes}
    return ExpertStage(language=language, experts=ExpertsConfig.model_validate(config), seed=1)


def run(stage: TeacherStage | ExpertStage, inputs: dict[str, Path], out: Path, **env: Any) -> Path:
    out.mkdir(parents=True)
    stage.run(inputs, out, replace(Environment(work=out.parent / f"{out.name}-work"), **env))
    return out


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_teacher_learns_all_languages(trained):
    folder = trained["teacher"]
    facts = json.loads((folder / "training.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"model", "metrics.jsonl", "training.json"}
    assert set(facts) == {
        *("parameters", "steps", "tokens", "seconds", "tokens_per_second", "best_step", "best_validation_loss"),
        *("final_validation_loss", "published_step", "peak_memory_bytes", "weights_sha256", "strategy", "world_size"),
        *("arithmetic", "device", "threads", "processor", "context", "validated", "validated_tokens"),
    }
    model = load_model(folder / "model")
    assert weights_digest(model) == facts["weights_sha256"]
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["parameters"]
    last = rows(folder)[-1]
    assert {"validation_loss/en", "validation_loss/fr"} <= set(last)
    assert last["validation_loss"] < 0.97 * np.log(VOCABULARY)


def test_an_expert_learns_its_language_from_text_and_teacher(trained, tmp_path):
    folder = run(expert_stage(distillation={"schedule": {"type": "fixed", "alpha": 0.3}}), trained, tmp_path / "out")
    steps = [row for row in rows(folder) if "loss" in row]
    assert len(steps) == 10
    for row in steps:
        assert row["loss"] == pytest.approx(0.3 * row["ce"] + 0.7 * row["soft"], rel=1e-5)
    assert [key for key in rows(folder)[-1] if key.startswith("validation_loss/")] == ["validation_loss/fr"]
    assert load_model(folder / "model").config.vocab_size == VOCABULARY


def test_the_same_stage_gives_the_same_weights_and_another_seed_others(data, tmp_path):
    stages = [teacher_stage(), teacher_stage(), TeacherStage(teacher=teacher_stage().teacher, seed=2)]
    digests = [
        json.loads((run(stage, data, tmp_path / str(number)) / "training.json").read_text())["weights_sha256"]
        for number, stage in enumerate(stages)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_only_rank_0_writes(trained, tmp_path):
    stage = teacher_stage(model={"type": "pretrained", "name": str(trained["teacher"] / "model")}, train=False)
    assert not list(run(stage, trained, tmp_path / "out", rank=1, world_size=2).iterdir())


def test_a_pretrained_teacher_is_taken_as_it_is(trained, tmp_path):
    stage = teacher_stage(model={"type": "pretrained", "name": str(trained["teacher"] / "model")}, train=False)
    folder = run(stage, trained, tmp_path / "out")
    before, after = (json.loads((f / "training.json").read_text()) for f in (trained["teacher"], folder))
    assert before["weights_sha256"] == after["weights_sha256"]
    assert after["steps"] == 0
    assert rows(folder) == []


def test_an_expert_begins_as_a_pretrained_model(trained, tmp_path):
    name, still = trained["teacher"] / "model", {**TRAINING, "optimizer": {"type": "adamw", "lr": 1e-9}}
    stage = expert_stage(model={"type": "pretrained", "name": str(name)}, training=still)
    made = load_model(run(stage, trained, tmp_path / "out") / "model").state_dict()
    for key, weight in load_model(name).state_dict().items():
        torch.testing.assert_close(made[key], weight, atol=1e-6, rtol=0)
    assert stage.external()


def test_a_pretrained_model_is_part_of_the_fingerprint(trained, tmp_path):
    folder = shutil.copytree(trained["teacher"] / "model", tmp_path / "model")
    stage = teacher_stage(model={"type": "pretrained", "name": str(folder)}, train=False)
    before = stage.external()
    assert before == stage.external() != {}
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert stage.external() != before
    assert teacher_stage().external() == {}


def blocks_of(data: dict[str, Path], folder: Path, vocabulary: int) -> dict[str, Path]:
    """The same blocks with another vocabulary."""
    shutil.copytree(data["blocks"], folder)
    about = json.loads((folder / "blocks.json").read_text())
    (folder / "blocks.json").write_text(json.dumps({**about, "vocab_size": vocabulary}))
    return {**data, "blocks": folder}


def test_a_pretrained_teacher_of_another_vocabulary_is_refused(trained, tmp_path):
    stage = teacher_stage(model={"type": "pretrained", "name": str(trained["teacher"] / "model")}, train=False)
    with pytest.raises(ModelError, match="tokens, the tokenizer"):
        run(stage, blocks_of(trained, tmp_path / "blocks", 70), tmp_path / "out")


def tokenizers(folder: Path) -> dict[str, Path]:
    """Two of the same size with other tokens."""
    texts = {"ours": "la casa junto al agua, la casa", "theirs": "the house by the river, the house"}
    for name, text in texts.items():
        save_tokenizer(train_tokenizer([[text] * 9], 265), folder / name)
    return {name: folder / name for name in texts}


@pytest.mark.parametrize("stage_of", [teacher_stage, expert_stage])
def test_weights_never_run_under_ids_that_mean_something_else(data, tmp_path, stage_of):
    made = tokenizers(tmp_path)
    untaught = {"train": False} if stage_of is teacher_stage else {"distillation": {"soft": None}}
    save_model(build_model(PluginSpec.model_validate(MODEL), 265, CONTEXT, 0), made["theirs"], tmp_path / "model")
    model = {"type": "pretrained", "name": str(tmp_path / "model")}
    stage = stage_of(model=model, **untaught)
    inputs = {**blocks_of(data, tmp_path / "blocks", 265), "tokenizer": made["ours"]}
    with pytest.raises(VocabularyError, match=r"knows other tokens than the run: 259 is"):
        run(stage, inputs, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    # In a plan: with a tokenizer that is there, that is given, or that is still to be trained.
    nothing = {"blocks": None, "tokenizer": None}
    expected = replace(EXPECTED, vocab_size=265)
    with pytest.raises(VocabularyError):
        stage.cost({**nothing, "tokenizer": made["ours"]}, expected)
    with pytest.raises(VocabularyError):
        stage.cost(nothing, replace(expected, tokenizer=made["ours"]))
    assert stage.cost(nothing, replace(expected, tokenizer=made["theirs"])).parameters
    assert stage.cost(nothing, expected).parameters


def test_a_pretrained_model_without_a_tokenizer_is_said(trained, tmp_path):
    folder = shutil.copytree(trained["teacher"] / "model", tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    stage = teacher_stage(model={"type": "pretrained", "name": str(folder)}, train=False)
    run(stage, trained, tmp_path / "out")
    assert "is not checked" in (tmp_path / "out-work" / "metrics.jsonl").read_text()


def test_an_expert_of_another_vocabulary_than_its_teacher_is_refused(trained, tmp_path):
    with pytest.raises(ModelError):
        run(expert_stage(), blocks_of(trained, tmp_path / "blocks", 70), tmp_path / "out")


def test_a_batch_that_does_not_divide_is_refused_and_nothing_is_written(data, tmp_path):
    with pytest.raises(TrainingError, match="does not divide"):
        run(teacher_stage(training={**TRAINING, "micro_batch": 3}), data, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_cost_is_six_flops_a_parameter_and_token_and_two_of_the_teacher(trained):
    teacher = teacher_stage().cost(trained, EXPECTED)
    facts = json.loads((trained["teacher"] / "training.json").read_text())
    assert (teacher.parameters, teacher.tokens) == (facts["parameters"], TRAINING["tokens"])
    assert teacher.flops == 6 * teacher.parameters * teacher.tokens
    expert = expert_stage().cost(trained, EXPECTED)
    size = parameter_count(EXPECTED.teacher, VOCABULARY, CONTEXT)
    assert expert.flops == (6 * expert.parameters + 2 * size) * expert.tokens
    assert expert.memory_bytes > 16 * expert.parameters


def test_epochs_cost_the_tokens_of_the_languages_trained_on(trained):
    training = {**TRAINING, "tokens": None, "epochs": 2}
    one, both = (
        expert_stage(training=training).cost(trained, EXPECTED),
        teacher_stage(training=training).cost(trained, EXPECTED),
    )
    assert one.tokens == 2 * 74 * CONTEXT
    assert both.tokens == 2 * one.tokens


def test_before_anything_exists_the_recipe_says_what_it_will_cost():
    nothing = {"blocks": None, "tokenizer": None, "teacher": None}
    teacher, expert = teacher_stage().cost(nothing, EXPECTED), expert_stage().cost(nothing, EXPECTED)
    assert teacher.parameters == parameter_count(teacher_stage().teacher.model, 512, CONTEXT)
    size = parameter_count(EXPECTED.teacher, 512, CONTEXT)
    assert expert.flops == (6 * expert.parameters + 2 * size) * TRAINING["tokens"]
    counted = replace(EXPECTED, tokens_per_language=1000)
    epochs = {**TRAINING, "tokens": None, "epochs": 2}
    assert teacher_stage(training=epochs).cost(nothing, counted).tokens == 4000
    assert expert_stage(training=epochs).cost(nothing, counted).tokens == 2000


def test_a_batch_that_does_not_divide_is_found_before_anything_runs():
    with pytest.raises(TrainingError, match="does not divide"):
        teacher_stage(training={**TRAINING, "micro_batch": 3}).cost({"blocks": None}, EXPECTED)


def test_without_a_soft_loss_the_teacher_is_not_needed(data, tmp_path):
    folder = run(expert_stage(distillation={"soft": None}), data, tmp_path / "out")
    for row in (row for row in rows(folder) if "loss" in row):
        assert (row["alpha"], row["soft"]) == (1.0, None)
        assert row["loss"] == pytest.approx(row["ce"])


def test_the_loss_between_hidden_states_is_added_with_its_weight(trained, tmp_path):
    distillation = {"schedule": {"type": "fixed", "alpha": 0.3}, "hidden": {"weight": 0.5}}
    folder = run(expert_stage(distillation=distillation), trained, tmp_path / "out")
    found = [row for row in rows(folder) if "loss" in row]
    for row in found:
        assert row["loss"] == pytest.approx(0.3 * row["ce"] + 0.7 * row["soft"] + 0.5 * row["hidden"], rel=1e-5)
    assert found[-1]["hidden"] < found[0]["hidden"]


def test_an_expert_may_begin_as_a_part_of_its_teacher(trained, tmp_path):
    training = {**TRAINING, "optimizer": {"type": "adamw", "lr": 1e-9}}
    folder = run(expert_stage(initialise="teacher", training=training), trained, tmp_path / "out")
    ours, teacher = (load_model(each / "model").state_dict() for each in (folder, trained["teacher"]))
    for name, weight in teacher.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-6)


def test_a_schedule_that_looks_at_slopes_is_given_them(trained, tmp_path):
    folder = run(expert_stage(distillation={"schedule": "gradient_balance"}), trained, tmp_path / "out")
    found = [row for row in rows(folder) if "loss" in row]
    assert all(row["ce_slope"] > 0 and row["soft_slope"] > 0 for row in found)
    first, second = found[:2]
    expected = first["soft_slope"] ** 0.5 / (first["soft_slope"] ** 0.5 + first["ce_slope"] ** 0.5)
    assert second["alpha"] == pytest.approx(max(0.1, min(0.9, expected)))
