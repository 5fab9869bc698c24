"""Parts of a model, and who gets which rows; the laws of training by parts are in tests/contracts/test_parts.py."""

from __future__ import annotations

import os
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import TrainingError
from orchestrator.models import build_model
from orchestrator.models.mixture import SHARED
from orchestrator.models.setups.jeet import JEET
from orchestrator.schedules import LossHistory
from orchestrator.training.loop import train
from orchestrator.training.objective import CrossEntropyObjective
from orchestrator.training.optimizers.adamw import AdamW
from orchestrator.training.parts import Parts, Share
from orchestrator.training.step import Clock, mean_loss, train_step
from orchestrator.training.strategies._base import share_of
from orchestrator.training.strategies.expert_parallel import ExpertParallel
from orchestrator.training.strategies.single import Single

LANGUAGES = ("en", "fr", "de", "py")
PARTS = Parts(
    part_of=lambda name: name.partition(".")[0],
    selected=lambda languages: languages | {SHARED},
    keep=lambda model, languages: [
        delattr(model, name) for name in LANGUAGES if name not in languages and name in model
    ],
)


def layers() -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(2, 2) for name in (SHARED, "en", "fr")})


def test_what_is_never_selected_is_frozen():
    model = layers()
    PARTS.freeze(model, frozenset({"en"}))
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters() if "weight" in name} == {
        "shared.weight": True,
        "en.weight": True,
        "fr.weight": False,
    }


def test_what_a_step_does_not_select_counts_neither_in_the_norm_nor_in_the_update(tmp_path, env):
    model = layers()
    handle = Single().setup(model, AdamW(weight_decay=0.5), TrainingConfig(), env, PARTS)
    before = handle.weights()
    total = sum(module(torch.ones(2)).sum() for module in model.values())
    handle.backward(total)
    norm = float(handle.step(0.1, frozenset({"fr"})))
    assert norm == pytest.approx(6**0.5), "the gradient of one layer is six ones"
    moved = {name for name, value in handle.weights().items() if not torch.equal(value, before[name])}
    assert moved == {"fr.weight", "fr.bias"}
    assert {path.rpartition("/")[0] for path in handle.optimizer_state()} == moved
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (1, [(0, 1, LANGUAGES)]),
        (2, [(0, 1, ("en", "de")), (0, 1, ("fr", "py"))]),
        (3, [(0, 1, ("en", "py")), (0, 1, ("fr",)), (0, 1, ("de",))]),
        (4, [(0, 1, (language,)) for language in LANGUAGES]),
        (8, [(index, 2, (language,)) for index in range(2) for language in LANGUAGES]),
    ],
)
def test_experts_in_parallel_are_spread_over_the_workers(env, workers, expected):
    shares = [
        share_of(ExpertParallel(), LANGUAGES, PARTS, replace(env, rank=rank, world_size=workers))
        for rank in range(workers)
    ]
    assert [(share.index, share.of, share.languages) for share in shares] == expected


def test_workers_that_experts_do_not_divide_are_refused(env):
    with pytest.raises(TrainingError, match="6 workers can't share the experts of 4 languages") as error:
        share_of(ExpertParallel(), LANGUAGES, PARTS, replace(env, world_size=6))
    assert error.value.fix == "set it to 4 or 8"


def test_a_model_without_experts_is_refused(make_task, env):
    with pytest.raises(TrainingError, match="this model has none") as error:
        train(make_task(), replace(env, strategy=PluginSpec(type="expert_parallel")))
    assert "resources.strategy=auto" in error.value.fix


def test_other_strategies_share_every_row(env):
    rows = np.array([[0, 5], [1, 6], [0, 7]])
    share = share_of(Single(), LANGUAGES, None, replace(env, rank=1, world_size=2))
    assert share == Share(1, 2)
    assert share.select(rows, ("en", "fr")) is rows


def test_a_worker_gets_the_rows_of_its_languages():
    rows = np.array([[0, 5], [1, 6], [0, 7]])
    assert Share(languages=("en", "de")).select(rows, ("en", "fr")).tolist() == [[0, 5], [0, 7]]
    assert Share(languages=("de",)).select(rows, ("en", "fr")).tolist() == []


def test_a_worker_without_rows_takes_part_in_a_step_and_in_validation(make_task, env):
    model = layers()
    handle = Single().setup(model, AdamW(), TrainingConfig(), env, PARTS)
    clock = Clock(0, 10, 1, selected=frozenset({"en"}))
    device = torch.device("cpu")
    result = train_step(handle, CrossEntropyObjective(), [], LossHistory(), 1e-3, clock, device)
    assert (result.loss, result.tokens, result.alpha, result.beta) == (0.0, 0, 1.0, 0.0)
    assert mean_loss(handle, [], 1, device) == 0.0


@pytest.fixture
def mixture_task(make_task):
    """A task whose model is a mixture of two experts with one embedding."""

    def make(**changes):
        spec = PluginSpec(type="gpt2", layers=1, width=16, heads=2)

        def new_model():
            return JEET().assemble(
                {language: build_model(spec, 300, 16, seed) for seed, language in enumerate(("en", "fr"))}
            )

        parts = Parts(new_model().part_of, PARTS.selected, lambda model, languages: model.keep(languages))
        return make_task(new_model=new_model, parts=parts, **changes)

    return make


def test_a_language_that_is_validated_and_not_learned_keeps_its_expert(mixture_task, env, rows_of):
    task = mixture_task(languages=("en",), validated=("fr", "en"))
    outcome = train(task, env)
    last = rows_of(env)[-1]
    assert list(last)[-2:] == ["validation_loss/fr", "validation_loss/en"]
    weights = outcome.checkpoints.weights("step", outcome.progress.step)
    for name, value in task.new_model().named_parameters():
        assert torch.equal(weights[name], value) == name.startswith("experts.fr"), name


def test_an_expert_that_no_worker_holds_is_refused(mixture_task, env):
    task, env = mixture_task(languages=("en",)), replace(env, strategy=PluginSpec(type="expert_parallel"))
    with patch.dict(os.environ), pytest.raises(TrainingError, match="no worker holds fr"):
        train(task, env)
    torch.distributed.destroy_process_group()
