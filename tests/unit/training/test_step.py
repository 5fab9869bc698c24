from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.environment import Environment
from orchestrator.losses import IGNORED
from orchestrator.models import build_model
from orchestrator.schedules import LossHistory
from orchestrator.training.batches import Batch
from orchestrator.training.objective import CrossEntropyObjective
from orchestrator.training.optimizers.adamw import AdamW
from orchestrator.training.step import Clock, mean_loss, train_step
from orchestrator.training.strategies.single import Single

CPU = torch.device("cpu")
CLOCK = Clock(step=0, steps=10, seed=1)


@pytest.fixture
def blocks():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 50, (8, 17)))


def one_step(make_task, tmp_path, batches, clock=CLOCK, dropout=0.0, most=None):
    """The weights after one step, and its result."""
    spec = PluginSpec(type="gpt2", layers=1, width=16, heads=2, dropout=dropout)
    model = build_model(spec, 50, 16, seed=3).train()
    handle = Single().setup(model, AdamW(), make_task().config, Environment(work=tmp_path))
    result = train_step(handle, CrossEntropyObjective(), batches, LossHistory(), 1e-3, clock, CPU, most)
    return handle.weights(), result


def cut(blocks, size, labels=None):
    labels = blocks[:, 1:] if labels is None else labels
    rows = torch.zeros(len(blocks), 2, dtype=torch.int64)
    return [
        Batch(blocks[i : i + size, :-1], labels[i : i + size], rows[i : i + size]) for i in range(0, len(blocks), size)
    ]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_accumulation_equals_the_whole_batch_though_lengths_are_ragged(make_task, tmp_path, blocks, size):
    labels = blocks[:, 1:].clone()
    for row in range(8):
        labels[row, 2 * row + 1 :] = IGNORED
    whole, expected = one_step(make_task, tmp_path, cut(blocks, 8, labels))
    parts, result = one_step(make_task, tmp_path, cut(blocks, size, labels))
    assert result.tokens == expected.tokens == int((labels != IGNORED).sum())
    assert result.loss == pytest.approx(expected.loss, rel=1e-6)
    assert result.grad_norm == pytest.approx(expected.grad_norm, rel=1e-5)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("most", [1, 3, 4, 9])
def test_pieces_of_micro_batches_are_the_same_step(make_task, tmp_path, blocks, most):
    whole, expected = one_step(make_task, tmp_path, cut(blocks, 4))
    pieces, result = one_step(make_task, tmp_path, cut(blocks, 4), most=most)
    assert result.tokens == expected.tokens
    assert result.loss == pytest.approx(expected.loss, rel=1e-6)
    assert result.grad_norm == pytest.approx(expected.grad_norm, rel=1e-5)
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, rtol=1e-4, atol=1e-6)


def test_a_batch_with_nothing_to_learn_changes_nothing_but_decay(make_task, tmp_path, blocks):
    _, result = one_step(make_task, tmp_path, cut(blocks, 4, torch.full((8, 16), IGNORED)))
    assert (result.loss, result.grad_norm, result.tokens) == (0.0, 0.0, 0)


def test_dropout_depends_on_seed_step_and_rank_not_on_what_was_drawn_before(make_task, tmp_path, blocks):
    def loss(clock):
        torch.rand(5)
        return one_step(make_task, tmp_path, cut(blocks, 4), clock, dropout=0.3)[1].loss

    clocks = [CLOCK, Clock(1, 10, 1), Clock(0, 10, 2), Clock(0, 10, 1, rank=1)]
    assert loss(CLOCK) == loss(CLOCK)
    assert len({loss(clock) for clock in clocks}) == 4


def test_mean_loss_is_the_cross_entropy_of_torch(make_task, tmp_path, blocks):
    spec = PluginSpec(type="gpt2", layers=1, width=16, heads=2)
    model = build_model(spec, 50, 16, seed=3).eval()
    handle = Single().setup(model, AdamW(), make_task().config, Environment(work=tmp_path))
    logits = model(blocks[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), blocks[:, 1:].flatten()).detach()
    assert mean_loss(handle, cut(blocks, 3), 1, CPU) == pytest.approx(float(expected), rel=1e-5)
