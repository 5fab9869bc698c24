"""Students of several languages, the experts' mean, and the losses of one model, on tiny models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from orchestrator.config.recipe import EvaluationConfig
from orchestrator.models import load_model
from orchestrator.study.students.config import StudentConfig
from orchestrator.study.students.measure import MeasureStage
from orchestrator.study.students.merged import MergedStage
from orchestrator.study.students.student import StudentStage
from tests.unit.stages.test_mixtures import CONTEXT, EXPERTS, LANGUAGES, VOCABULARY, losses, rows, run


def student(**changes: Any) -> StudentStage:
    fields = {"student": StudentConfig(), "experts": EXPERTS, "languages": LANGUAGES, "validated": LANGUAGES, "seed": 1}
    return StudentStage(**{**fields, **changes})


class TestStudent:
    def test_takes_as_many_tokens_as_the_experts_together_in_their_batches(self, trained, tmp_path):
        folder = run(student(), trained, tmp_path / "out")
        steps = [row for row in rows(folder) if "loss" in row]
        assert steps[-1]["tokens"] == 2 * 6 * 8 * CONTEXT
        assert len(steps) == 12
        assert {"validation_loss/en", "validation_loss/fr"} <= set(rows(folder)[-1])

    def test_goes_on_from_another_and_tells_of_all_languages(self, trained, tmp_path):
        before = run(student(languages=("en",)), trained, tmp_path / "en")
        after = run(student(languages=("fr",)), trained | {"initial": before}, tmp_path / "fr")
        validations = [row for row in rows(after) if "validation_loss" in row]
        assert all({"validation_loss/en", "validation_loss/fr"} <= set(row) for row in validations)
        fresh = run(student(languages=("fr",)), trained, tmp_path / "fresh")
        assert losses(after)[0] < losses(fresh)[0]

    def test_routers_alone_are_trained_where_asked(self, trained, experts, tmp_path):
        model = {"type": "token-moe", "base": EXPERTS.model.model_dump(), "experts": 2, "top": 1}
        options = {"model": model, "initialise": "branch_train_mix", "tokens": CONTEXT * 8 * 4}
        folders = {
            what: run(
                student(student=StudentConfig.model_validate({**options, "trainable": what})),
                trained | experts,
                tmp_path / what,
            )
            for what in ("token_router", "all")
        }
        trained_names = {}
        for what, folder in folders.items():
            beginning = student(student=StudentConfig.model_validate(options))._model(experts, VOCABULARY, CONTEXT)
            weights = dict(load_model(folder / "model").named_parameters())
            changed = {name for name, p in beginning.named_parameters() if not torch.equal(p, weights[name])}
            trained_names[what] = changed
        assert trained_names["token_router"]
        assert all("router" in name for name in trained_names["token_router"])
        assert len(trained_names["all"]) > len(trained_names["token_router"])

    def test_the_experts_mean(self, data, experts, tmp_path):
        folder = run(MergedStage(), {**experts, "tokenizer": data["tokenizer"]}, tmp_path / "out")
        weights = [dict(load_model(path / "model").named_parameters()) for path in (*experts.values(), folder)]
        for name, merged in weights[-1].items():
            torch.testing.assert_close(merged, (weights[0][name] + weights[1][name]) / 2)


def test_a_model_is_measured_on_every_language(trained, experts, tmp_path):
    config = EvaluationConfig(split="validation", max_blocks=3)
    inputs = {"blocks": trained["blocks"], "model": experts["expert-fr"]}
    folder = run(MeasureStage(evaluation=config, languages=LANGUAGES), inputs, tmp_path / "out")
    found = load_file(folder / "block_losses.safetensors")
    assert found.pop("works/en").tolist() == list(range(len(found["loss/en"])))
    found.pop("works/fr")
    assert {name: len(values) for name, values in found.items()} == {"loss/en": 3, "loss/fr": 3}
    assert found["loss/fr"].mean() / CONTEXT < np.log(VOCABULARY)
