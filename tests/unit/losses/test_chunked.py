"""The op's edges: what it refuses, what it leaves out, what it takes from autocast."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from orchestrator.errors import ModelError, TrainingError
from orchestrator.losses import LazyLogits, distillation_loss
from orchestrator.losses.reverse_kl import ReverseKL

N, D, V = 12, 4, 10


@pytest.fixture
def student() -> LazyLogits:
    g = torch.Generator().manual_seed(0)
    return LazyLogits(torch.randn(N, D, generator=g).requires_grad_(), torch.randn(V, D, generator=g).requires_grad_())


@pytest.fixture
def teacher() -> LazyLogits:
    g = torch.Generator().manual_seed(1)
    return LazyLogits(torch.randn(N, 6, generator=g), torch.randn(V, 6, generator=g), torch.zeros(V))


@pytest.fixture
def targets() -> torch.Tensor:
    return torch.arange(N) % V


def test_cross_entropy_alone(student: LazyLogits, targets: torch.Tensor) -> None:
    sums = distillation_loss(student, targets)
    expected = cross_entropy(linear(student.hidden, student.weight), targets, reduction="sum")
    torch.testing.assert_close(sums.loss, expected)
    assert (sums.soft, sums.tokens) == (0, N)
    assert not sums.ce.requires_grad


def test_batches_keep_their_shape(student: LazyLogits, teacher: LazyLogits, targets: torch.Tensor) -> None:
    flat = distillation_loss(student, targets, teacher=teacher, soft=ReverseKL(), beta=1.0).loss
    (expected,) = torch.autograd.grad(flat, student.hidden)
    hidden = student.hidden.detach().reshape(3, 4, D).requires_grad_()
    batch = distillation_loss(
        student._replace(hidden=hidden),
        targets.reshape(3, 4),
        teacher=teacher._replace(hidden=teacher.hidden.reshape(3, 4, 6)),
        soft=ReverseKL(),
        beta=1.0,
    ).loss
    (gradient,) = torch.autograd.grad(batch, hidden)
    assert torch.equal(gradient.reshape(N, D), expected)


def test_losses_of_weight_zero_are_measured(student: LazyLogits, teacher: LazyLogits, targets: torch.Tensor) -> None:
    both = distillation_loss(student, targets, teacher=teacher, soft=ReverseKL(), alpha=0.5, beta=0.5)
    for alpha, beta in ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)):
        one = distillation_loss(student, targets, teacher=teacher, soft=ReverseKL(), alpha=alpha, beta=beta)
        torch.testing.assert_close(one.ce, both.ce)
        torch.testing.assert_close(one.soft, both.soft)
        gradient = torch.autograd.grad(one.loss, student.weight)[0]
        assert (gradient.abs().max() > 0) == (alpha + beta > 0)


def test_frozen_parts_get_no_gradient(student: LazyLogits, targets: torch.Tensor) -> None:
    frozen = student._replace(weight=student.weight.detach())
    distillation_loss(frozen, targets).loss.backward()
    assert student.hidden.grad is not None
    assert student.weight.grad is None


def test_tied_weights_add_up(targets: torch.Tensor) -> None:
    weight = torch.randn(V, D, generator=torch.Generator().manual_seed(2)).requires_grad_()
    distillation_loss(LazyLogits(weight[targets], weight), targets).loss.backward()
    copy = weight.detach().clone().requires_grad_()
    cross_entropy(linear(copy[targets], copy), targets, reduction="sum").backward()
    torch.testing.assert_close(weight.grad, copy.grad)


def test_the_mean_is_one_division(student: LazyLogits, targets: torch.Tensor) -> None:
    sums = distillation_loss(student, targets)
    (sums.loss / sums.tokens).backward()
    expected = torch.autograd.grad(cross_entropy(linear(student.hidden, student.weight), targets), student.weight)[0]
    torch.testing.assert_close(student.weight.grad, expected)


def test_gradients_are_handed_out_once(student: LazyLogits, targets: torch.Tensor) -> None:
    loss = distillation_loss(student, targets).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_without_grad_it_only_measures(student: LazyLogits, teacher: LazyLogits, targets: torch.Tensor) -> None:
    expected = distillation_loss(student, targets, teacher=teacher, soft=ReverseKL(2.0), beta=1.0)
    with torch.no_grad():
        sums = distillation_loss(student, targets, teacher=teacher, soft=ReverseKL(2.0), beta=1.0)
    assert not sums.loss.requires_grad
    torch.testing.assert_close(sums.loss, expected.loss.detach())


@pytest.mark.parametrize(("fast", "product"), [(True, torch.bfloat16), (False, torch.float32)])
def test_autocast_decides_the_products_not_the_sums(
    student: LazyLogits, targets: torch.Tensor, monkeypatch: pytest.MonkeyPatch, fast: bool, product: torch.dtype
) -> None:
    """On a CPU that is no faster in bf16, an fp32 head is not rounded."""
    monkeypatch.setattr("orchestrator.losses._precision.fast_bf16", lambda: fast)
    expected = distillation_loss(student, targets, matmul=product)
    with torch.autocast("cpu", torch.bfloat16):
        sums = distillation_loss(student, targets)
    assert sums.loss.dtype == torch.float32
    assert torch.equal(sums.loss, expected.loss)
    assert torch.autograd.grad(sums.loss, student.weight)[0].dtype == torch.float32


def test_bf16_parameters_get_bf16_gradients(student: LazyLogits, targets: torch.Tensor) -> None:
    hidden, weight = (t.detach().bfloat16().requires_grad_() for t in student[:2])
    gradients = torch.autograd.grad(distillation_loss(LazyLogits(hidden, weight), targets).loss, (hidden, weight))
    assert [g.dtype for g in gradients] == [torch.bfloat16] * 2


def test_vocabularies_that_differ(student: LazyLogits, teacher: LazyLogits, targets: torch.Tensor) -> None:
    other = teacher._replace(weight=torch.randn(V + 1, 6))
    with pytest.raises(ModelError, match=r"11 tokens and the student 10[\s\S]*one tokenizer"):
        distillation_loss(student, targets, teacher=other, soft=ReverseKL())


@pytest.mark.parametrize("target", [-1, V])
def test_target_outside_the_vocabulary(student: LazyLogits, targets: torch.Tensor, target: int) -> None:
    targets[3] = target
    with pytest.raises(TrainingError, match="outside the vocabulary of 10"):
        distillation_loss(student, targets)


def test_shapes_that_do_not_fit(student: LazyLogits, teacher: LazyLogits, targets: torch.Tensor) -> None:
    with pytest.raises(TrainingError, match="11 targets for 12 positions of the student"):
        distillation_loss(student, targets[1:])
    with pytest.raises(TrainingError, match="of the teacher"):
        distillation_loss(student, targets, teacher=teacher._replace(hidden=teacher.hidden[1:]), soft=ReverseKL())
    with pytest.raises(TrainingError, match="a teacher needs a soft loss"):
        distillation_loss(student, targets, teacher=teacher)
