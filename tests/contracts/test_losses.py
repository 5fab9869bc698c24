"""Laws of every soft loss, and of the op that combines them with cross-entropy. A new loss inherits them."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.errors import PluginError
from orchestrator.losses import IGNORED, LazyLogits, SoftLoss, distillation_loss
from orchestrator.plugins import available, create

ROOM, OPTIONS = "losses", {}
NAMES = (*available(ROOM), "mome_example.losses:Hellinger")
VOCAB, STUDENT, TEACHER = 37, 8, 12

each_temperature = pytest.mark.parametrize("temperature", [1.0, 2.5])


def make(name: str, temperature: float = 1.0) -> SoftLoss:
    return create(ROOM, name, {**OPTIONS.get(name, {}), "temperature": temperature})


def logits(seed: int, rows: int = 6, scale: float = 3.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return scale * torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Case:
    """A batch of hidden states, heads and targets, the student's parts as leaves."""

    def __init__(self, tokens: int = 23, dtype: torch.dtype = torch.float32, bias: bool = True, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

        self.hidden, self.weight = draw(tokens, STUDENT), draw(VOCAB, STUDENT)
        self.bias = draw(VOCAB) if bias else None
        self.teacher = LazyLogits(draw(tokens, TEACHER), draw(VOCAB, TEACHER), draw(VOCAB) if bias else None)
        self.targets = torch.randint(VOCAB, (tokens,), generator=g)
        self.require_grad()

    def require_grad(self) -> None:
        self.leaves = [
            t.detach().clone().requires_grad_() for t in (self.hidden, self.weight, self.bias) if t is not None
        ]

    def student(self) -> LazyLogits:
        return LazyLogits(*self.leaves)

    def run(
        self, soft: SoftLoss | None, alpha: float = 0.3, beta: float = 0.7, chunk: int = 5
    ) -> tuple[Tensor, list[Tensor]]:
        """(loss sum, gradients of hidden states, weight, bias) of the op."""
        teacher = self.teacher if soft is not None else None
        sums = distillation_loss(
            self.student(), self.targets, teacher=teacher, soft=soft, alpha=alpha, beta=beta, chunk=chunk
        )
        return sums.loss.detach(), list(torch.autograd.grad(sums.loss, self.leaves))

    def dense(self, soft: SoftLoss | None, alpha: float = 0.3, beta: float = 0.7) -> tuple[Tensor, list[Tensor]]:
        """The same from dense logits by autograd, over the valid positions."""
        hidden, weight, *bias = self.leaves
        valid = self.targets != IGNORED
        student = torch.nn.functional.linear(hidden, weight, *bias)[valid]
        teacher = torch.nn.functional.linear(*self.teacher[:3])[valid]
        loss = alpha * torch.nn.functional.cross_entropy(student, self.targets[valid], reduction="sum")
        if soft is not None:
            loss = loss + beta * soft.per_token(student, teacher).sum()
        return loss.detach(), list(torch.autograd.grad(loss, self.leaves))

    def double(self) -> Case:
        """The same numbers in float64."""
        other = Case()
        other.__dict__.update(self.__dict__)
        other.hidden, other.weight = self.hidden.double(), self.weight.double()
        other.bias = None if self.bias is None else self.bias.double()
        other.teacher = LazyLogits(*(t.double() if isinstance(t, Tensor) else t for t in self.teacher))
        other.require_grad()
        return other


def relative(ours: Tensor, exact: Tensor) -> float:
    return float((ours.double() - exact.double()).norm() / exact.double().norm().clamp(min=1e-30))


def assert_same(ours: tuple[Tensor, list[Tensor]], theirs: tuple[Tensor, list[Tensor]], tolerance: float) -> None:
    assert relative(ours[0], theirs[0]) <= tolerance
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert relative(a, b) <= tolerance


# ---------------------------------------------------------------- the soft losses


def test_is_a_frozen_dataclass_that_pickles(name: str) -> None:
    loss = make(name, 2.0)
    assert pickle.loads(pickle.dumps(loss)) == loss
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.temperature = 3.0  # type: ignore[misc]
    if ":" not in name:  # ours name their source
        assert "arXiv" in (type(loss).__doc__ or "") or "paper" in (type(loss).__doc__ or "")


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_refuses_a_temperature_that_is_not_positive(name: str, temperature: float) -> None:
    with pytest.raises(PluginError, match="temperature"):
        make(name, temperature)


@each_temperature
def test_zero_at_equality(name: str, temperature: float) -> None:
    loss, same = make(name, temperature), logits(1)
    value, grad = loss.value_and_grad(same, same.clone())
    assert grad.abs().max() < 1e-6
    if loss.zero_at_equality:
        assert value.abs().max() < 1e-5


@each_temperature
def test_never_negative(name: str, temperature: float) -> None:
    value, _ = make(name, temperature).value_and_grad(logits(1, 200), logits(2, 200))
    assert value.min() >= 0


@each_temperature
def test_gradient_is_that_of_its_definition(name: str, temperature: float) -> None:
    loss = make(name, temperature)
    student, teacher = logits(3, dtype=torch.float64).requires_grad_(), logits(4, dtype=torch.float64)
    definition = loss.per_token(student, teacher)
    (expected,) = torch.autograd.grad(definition.sum(), student)
    value, grad = loss.value_and_grad(student.detach(), teacher)
    torch.testing.assert_close(value, definition.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-12)


@each_temperature
def test_its_divergence_is_what_autograd_makes_of_its_definition(name: str, temperature: float) -> None:
    loss, student, teacher = make(name, temperature), logits(3), logits(4)
    by_autograd = dataclasses.dataclass(frozen=True)(
        type("ByAutograd", (type(loss),), {"divergence": SoftLoss.divergence})
    )(**vars(loss))
    ours, theirs = loss.value_and_grad(student, teacher), by_autograd.value_and_grad(student, teacher)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    case = Case()
    assert_same(case.run(loss), case.run(by_autograd), 1e-6)


def test_gradient_sums_to_zero_and_ignores_a_shift(name: str) -> None:
    loss, student, teacher = make(name), logits(5), logits(6)
    value, grad = loss.value_and_grad(student, teacher)
    shifted, shifted_grad = loss.value_and_grad(student + 100, teacher - 50)
    assert grad.sum(-1).abs().max() < 1e-5
    torch.testing.assert_close(value, shifted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(grad, shifted_grad, rtol=1e-3, atol=1e-4)


def test_inputs_are_left_alone(name: str) -> None:
    student, teacher = logits(7), logits(8)
    before = student.clone(), teacher.clone()
    make(name, 2.0).value_and_grad(student, teacher)
    make(name, 1.0).value_and_grad(student, teacher)
    assert torch.equal(student, before[0])
    assert torch.equal(teacher, before[1])


@each_temperature
def test_masked_vocabulary_gives_no_nan(name: str, temperature: float) -> None:
    loss, student, teacher = make(name, temperature), logits(9), logits(10)
    whole, whole_grad = loss.value_and_grad(student[:, :30], teacher[:, :30])
    student[:, 30:], teacher[:, 30:] = -torch.inf, -torch.inf
    value, grad = loss.value_and_grad(student, teacher)
    torch.testing.assert_close(value, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad[:, :30], whole_grad, rtol=1e-5, atol=1e-6)
    assert (grad[:, 30:] == 0).all()


@each_temperature
def test_extreme_logits_stay_finite(name: str, temperature: float) -> None:
    signs = torch.randint(0, 2, (2, 50, VOCAB), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    value, grad = make(name, temperature).value_and_grad(*(1e4 * signs))
    assert value.isfinite().all()
    assert grad.isfinite().all()


def test_temperature_keeps_the_size_of_the_gradient(name: str) -> None:
    student, teacher = logits(11, scale=0.01), logits(12, scale=0.01)
    gradients = [make(name, T).value_and_grad(student, teacher)[1].norm() for T in (1.0, 8.0)]
    if name != "tvd":  # its gradient has the sign of q − p only, so T² · 1/T · 1/V grows with T
        assert gradients[1] / gradients[0] == pytest.approx(1, rel=0.1)


def test_forward_and_reverse_kl_pull_differently() -> None:
    """Two modes of the teacher: forward KL pulls to both, reverse KL to the nearer one."""
    teacher = torch.tensor([[5.0, 5.0, -5.0]])
    student = torch.tensor([[5.0, 0.0, -5.0]])
    _, forward = make("forward_kl").value_and_grad(student, teacher)
    _, reverse = make("reverse_kl").value_and_grad(student, teacher)
    assert abs(forward[0, 1]) > 5 * abs(reverse[0, 1])
    _, paper_code = make("teacher_cross_entropy").value_and_grad(student, teacher)
    torch.testing.assert_close(paper_code, forward)


# ---------------------------------------------------------------- the chunked op


@each_temperature
@pytest.mark.parametrize("bias", [True, False])
def test_op_matches_dense_autograd_in_float64(name: str, temperature: float, bias: bool) -> None:
    case, soft = Case(bias=bias), make(name, temperature)
    exact = case.double()
    assert_same(exact.run(soft), exact.dense(soft), 1e-10)
    assert_same(case.run(soft), exact.dense(soft), 1e-6)


def test_chunk_size_changes_nothing(name: str) -> None:
    case, soft = Case(), make(name)
    reference = case.run(soft, chunk=1000)
    for chunk in (1, 4, 7, 23):
        assert_same(case.run(soft, chunk=chunk), reference, 1e-6)


@given(masked=st.sets(st.integers(0, 22), max_size=22), seed=st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_masked_positions_change_nothing(name: str, masked: set[int], seed: int) -> None:
    case, soft, rows = Case(seed=seed), make(name), sorted(masked)
    case.targets[rows] = IGNORED
    expected = case.run(soft)
    case.hidden[rows] = torch.nan
    case.teacher.hidden[rows] = torch.inf
    case.require_grad()
    ours = case.run(soft)
    assert torch.equal(ours[0], expected[0])
    for a, b in zip(ours[1], expected[1], strict=True):
        assert torch.equal(a, b)
    assert (ours[1][0][rows] == 0).all()


def test_nothing_to_learn_gives_a_zero_that_keeps_the_graph(name: str) -> None:
    case = Case()
    case.targets[:] = IGNORED
    sums = distillation_loss(case.student(), case.targets, teacher=case.teacher, soft=make(name), alpha=0.5, beta=0.5)
    assert sums.loss.requires_grad
    assert all(float(s.detach()) == 0 for s in sums)
    for grad in torch.autograd.grad(sums.loss, case.leaves):
        assert (grad == 0).all()


@pytest.mark.parametrize("parts", [1, 4, 8])
def test_additive_over_ragged_micro_batches(name: str, parts: int) -> None:
    """Sums over micro-batches of unequal length, divided once, are the full batch."""
    case, soft = Case(tokens=40), make(name)
    case.targets[3:9] = IGNORED
    full_loss, full = case.run(soft)
    bounds = [0, *sorted({1 + (i * 37) % 39 for i in range(1, parts)}), 40]
    loss, weight = torch.zeros(()), torch.zeros_like(full[1])
    for start, stop in itertools.pairwise(bounds):
        part = distillation_loss(
            LazyLogits(case.leaves[0][start:stop], *case.leaves[1:]),
            case.targets[start:stop],
            teacher=case.teacher._replace(hidden=case.teacher.hidden[start:stop]),
            soft=soft,
            alpha=0.3,
            beta=0.7,
        )
        loss += part.loss.detach()
        weight += torch.autograd.grad(part.loss, case.leaves[1])[0]
    assert relative(loss, full_loss) <= 1e-6
    assert relative(weight, full[1]) <= 1e-6


def test_op_survives_a_masked_vocabulary_and_extreme_logits(name: str) -> None:
    case, soft = Case(), make(name)
    case.bias[30:], case.teacher.bias[30:] = -torch.inf, -torch.inf  # type: ignore[index]
    case.targets %= 30
    case.hidden.mul_(1e4)
    case.require_grad()
    loss, grads = case.run(soft)
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in grads)
    assert (grads[1][30:] == 0).all()


def test_bf16_products_stay_near_the_exact_gradient(name: str) -> None:
    case, soft = Case(tokens=200), make(name)
    exact = case.double().dense(soft)
    sums = distillation_loss(
        case.student(), case.targets, teacher=case.teacher, soft=soft, alpha=0.3, beta=0.7, matmul=torch.bfloat16
    )
    grads = list(torch.autograd.grad(sums.loss, case.leaves))
    assert grads[0].dtype == torch.float32
    assert_same((sums.loss.detach(), grads), exact, 0.03)
