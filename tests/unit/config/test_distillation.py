"""Losses, schedules and teachers that don't fit together are refused when the recipe is read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.config.recipe import AlignmentConfig, DistillationConfig, ExpertsConfig, Recipe


def config(**options: Any) -> DistillationConfig:
    return DistillationConfig.model_validate(options)


@pytest.mark.parametrize("soft", ["reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "tvd"])
def test_a_sampled_cache_refuses_losses_that_are_not_linear_in_the_teacher(soft: str) -> None:
    with pytest.raises(ValidationError, match=r"not linear in the teacher's probabilities.*forward_kl.*hidden_cache"):
        config(soft=soft, teacher="sampled_cache")


@pytest.mark.parametrize("soft", ["forward_kl", "teacher_cross_entropy"])
def test_a_sampled_cache_serves_those_that_are(soft: str) -> None:
    assert config(soft=soft, teacher="sampled_cache").cached


def test_samples_are_drawn_at_the_temperature_of_the_loss() -> None:
    hot = {"type": "forward_kl", "temperature": 2.0}
    with pytest.raises(ValidationError, match=r"temperature 1, the soft loss has 2"):
        config(soft=hot, teacher="sampled_cache")
    assert config(soft=hot, teacher={"type": "sampled_cache", "temperature": 2.0}).cached


def test_samples_hold_no_hidden_states() -> None:
    with pytest.raises(ValidationError, match=r"no hidden states.*hidden_cache"):
        config(soft="forward_kl", teacher="sampled_cache", hidden="cosine")
    assert config(teacher="hidden_cache", hidden={"weight": 0.5}).cached


def test_without_a_soft_loss_there_is_no_teacher() -> None:
    assert not config(soft=None, teacher="hidden_cache").cached
    with pytest.raises(ValidationError, match="needs a teacher"):
        config(soft=None, hidden="cosine")
    model = {"model": "gpt2-tiny-expert", "distillation": {"soft": None}}
    assert not ExpertsConfig.model_validate(model).needs_teacher
    assert ExpertsConfig.model_validate({**model, "initialise": "teacher"}).needs_teacher


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_alpha_outside_the_unit_interval_is_refused(alpha: float) -> None:
    with pytest.raises(ValidationError, match="alpha"):
        config(schedule={"type": "fixed", "alpha": alpha})


def test_an_alignment_is_with_a_teacher_whose_states_are_known() -> None:
    assert config(alignment="spans").alignment == AlignmentConfig(type="spans")
    with pytest.raises(ValidationError, match="soft: null has none"):
        config(soft=None, alignment="spans")
    with pytest.raises(ValidationError, match=r"sampled_cache can't serve other tokens.*hidden_cache or live"):
        config(soft="forward_kl", teacher="sampled_cache", alignment="spans")
    with pytest.raises(ValidationError, match="between hidden states"):
        config(hidden="cosine", alignment="spans")
    with pytest.raises(ValidationError, match="spans"):
        config(alignment="words")


PRETRAINED = {"model": {"type": "pretrained", "name": "somewhere"}, "train": False}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": {"model": "gpt2-tiny-teacher"}}, "unless it is pretrained and train: false"),
        ({"teacher": {**PRETRAINED, "train": True}}, "unless it is pretrained and train: false"),
        ({"tokenizer": {"of_teacher": True}}, "say in `tokenizer` which they are to have"),
        ({"experts": {"vocabulary": {"keep": 0.9}}}, "experts.vocabulary is for experts that have the teacher's"),
        ({"experts": {"initialise": "teacher"}}, "initialise: teacher is for experts that have the teacher's"),
        ({"study": {"type": "paper"}}, "the study paper compares models of one tokenizer"),
    ],
)
def test_an_alignment_is_of_two_tokenizers(changes: dict[str, Any], said: str) -> None:
    experts = {"model": "gpt2-tiny-expert", "distillation": {"alignment": "spans"}}
    recipe = {
        "name": "two",
        "corpus": {"languages": {"en": {"source": "miniwiki"}}},
        "tokenizer": {"vocab_size": 300},
        "teacher": PRETRAINED,
        "experts": experts,
    }
    assert Recipe.model_validate(recipe).experts.distillation.alignment is not None
    mixed = {**recipe, **changes, "experts": {**experts, **changes.get("experts", {})}}
    with pytest.raises(ValidationError, match=said):
        Recipe.model_validate(mixed)
