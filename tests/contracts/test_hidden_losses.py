"""Laws of every loss between hidden states. A new one inherits them."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.losses import IGNORED
from orchestrator.losses.hidden import HiddenLoss
from orchestrator.plugins import available, create

ROOM, OPTIONS = "losses.hidden", {}
NAMES = available(ROOM)


def make(name: str) -> HiddenLoss:
    return create(ROOM, name, OPTIONS.get(name, {}))


def states(seed: int) -> Tensor:
    return torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(seed))


TARGETS = torch.arange(14).reshape(2, 7)


def test_zero_loss_and_gradient_at_equality(name: str) -> None:
    student = states(0).requires_grad_()
    loss = make(name).total(student, states(0), TARGETS)
    (gradient,) = torch.autograd.grad(loss, student)
    assert abs(float(loss.detach())) < 1e-5
    assert float(gradient.abs().max()) < 1e-5


def test_masked_positions_change_nothing_whatever_they_hold(name: str) -> None:
    targets = TARGETS.clone()
    targets[0, 2:5] = IGNORED
    expected = make(name).total(states(0), states(1), targets)
    student, teacher = states(0), states(1)
    student[0, 2:5], teacher[0, 2:5] = torch.nan, torch.inf
    student.requires_grad_()
    loss = make(name).total(student, teacher, targets)
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.equal(loss.detach(), expected)
    assert (gradient[0, 2:5] == 0).all()


def test_additive_over_tokens_and_none_are_zero(name: str) -> None:
    loss = make(name)
    parts = sum(loss.total(states(0)[i], states(1)[i], TARGETS[i]) for i in range(2))
    torch.testing.assert_close(parts, loss.total(states(0), states(1), TARGETS))
    assert float(loss.total(states(0), states(1), torch.full_like(TARGETS, IGNORED))) == 0


def test_the_teacher_gets_no_gradient_and_bf16_is_summed_in_fp32(name: str) -> None:
    student, teacher = states(0).bfloat16().requires_grad_(), states(1).bfloat16().requires_grad_()
    loss = make(name).total(student, teacher, TARGETS)
    assert loss.dtype == torch.float32
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_widths_that_differ_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"5 wide, the teacher's 4[\s\S]*experts.model"):
        make(name).total(states(0), states(1)[..., :4], TARGETS)


def test_pickles_and_names_its_source(name: str) -> None:
    assert pickle.loads(pickle.dumps(make(name))) == make(name)
    if ":" not in name:
        assert "arXiv" in (type(make(name)).__doc__ or "")
