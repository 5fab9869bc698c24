"""The one op of distillation: hidden states in, weighted loss out, in chunks of tokens.

Gradients are computed in the forward pass, chunk by chunk, so that logits exist for one chunk only: memory is
chunk × vocabulary instead of tokens × vocabulary, and backward is a multiplication by a number (the idea of Liger
kernel's chunked losses, arXiv:2410.10989).

Shape legend: N tokens, C tokens of a chunk, V vocabulary, D width (each model has its own).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orchestrator.errors import ModelError, TrainingError
from orchestrator.losses._base import SoftLoss
from orchestrator.losses._chunk import ChunkHead, Objective, add_outer, exact_type, product_type

IGNORED = -100
"""Target of a position that is not to be learned."""


class LazyLogits(NamedTuple):
    """Logits not yet computed: hidden states and the head.

    Attributes:
        hidden: [N, D] or [B, T, D].
        weight: [V, D]; may be the embedding's (tied).
        bias: [V] or None; −inf masks an entry.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None


class LossSums(NamedTuple):
    """Sums over the valid tokens, scalars in fp32; only `loss` carries a gradient.

    Attributes:
        loss: alpha · ce + beta · soft. ce: cross-entropy with the targets. soft: the soft loss (0 without a teacher).
        tokens: number of valid ones, int64. One place divides by its global sum.
    """

    loss: Tensor
    ce: Tensor
    soft: Tensor
    tokens: Tensor


def distillation_loss(
    student: LazyLogits,
    targets: Tensor,
    *,
    teacher: LazyLogits | None = None,
    soft: SoftLoss | None = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    chunk: int | None = None,
    matmul: torch.dtype | None = None,
) -> LossSums:
    """Sum of alpha · CE(student, targets) + beta · soft(student, teacher) over valid tokens (paper, equation 1).

    Args:
        student: hidden states, weight and bias that require it get a gradient; so backward may be called once.
        targets: int64 [N] or [B, T]; positions of :data:`IGNORED` change nothing, whatever their hidden states hold.
        teacher: gets no gradient; None: cross-entropy only.
        soft: the soft loss; None exactly where there is no teacher.
        alpha: weight of cross-entropy.
        beta: weight of the soft loss.
        chunk: tokens whose logits are held at once, None: by device; it changes no result beyond rounding.
        matmul: type of the matrix products; None: autocast's where it is on, else that of the hidden states, but fp32
            for fp32 heads on CPUs that are no faster in bf16.
            Softmaxes and sums are in fp32 (fp64 for fp64 inputs).

    Raises:
        ModelError: the vocabularies of student and teacher differ.
        TrainingError: shapes don't fit, a target is outside the vocabulary, or a teacher comes without a soft loss.
    """
    student, targets_N = _flat(student), targets.reshape(-1)
    teacher = None if teacher is None else _detached(_flat(teacher))
    valid_N = (targets_N != IGNORED).nonzero().flatten()
    _check(student, teacher, soft, targets_N, valid_N)
    plan = _Plan(
        targets=targets_N,
        valid=None if len(valid_N) == len(targets_N) else valid_N,
        teacher=teacher,
        soft=soft,
        alpha=alpha,
        beta=beta,
        chunk=chunk or _default_chunk(student.weight),
        matmul=matmul or product_type(student.hidden, student.weight),
        differentiate=torch.is_grad_enabled(),
    )
    loss, ce, soft_sum = _ChunkedLoss.apply(*student, plan)  # type: ignore[no-untyped-call]
    return LossSums(loss, ce, soft_sum, torch.tensor(len(valid_N), device=targets.device))


@dataclass(frozen=True)
class _Plan:
    targets: Tensor
    valid: Tensor | None  # indices of the positions to learn; None: all
    teacher: LazyLogits | None
    soft: SoftLoss | None
    alpha: float
    beta: float
    chunk: int
    matmul: torch.dtype
    differentiate: bool

    def chunks(self) -> Iterator[slice | Tensor]:
        count = len(self.targets) if self.valid is None else len(self.valid)
        for start in range(0, count, self.chunk):
            rows = slice(start, min(start + self.chunk, count))
            yield rows if self.valid is None else self.valid[rows]


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, plan: _Plan
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs = [need and plan.differentiate for need in ctx.needs_input_grad[:3]]
        with torch.autocast(hidden_ND.device.type, enabled=False):
            ce, soft, ctx.gradients = _run(LazyLogits(hidden_ND, weight_VD, bias_V), plan, needs)
        exact = exact_type(hidden_ND)
        loss = (plan.alpha * ce + plan.beta * soft).to(exact)
        ce, soft = ce.to(exact), soft.to(exact)
        ctx.mark_non_differentiable(ce, soft)
        return loss, ce, soft

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the distillation loss hands out its gradients once; it can't be differentiated again")
        gradients, ctx.gradients = ctx.gradients, None
        return (*(None if g is None else g.mul_(grad_loss.to(g.dtype)) for g in gradients), None)


def _run(student: LazyLogits, plan: _Plan, needs: list[bool]) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Sums of CE and soft loss in fp64, and the gradients of the weighted sum in hidden states, weight and bias."""
    exact = exact_type(student.hidden)
    grad_hidden, grad_weight, grad_bias = (
        torch.zeros_like(tensor, dtype=dtype) if need and tensor is not None else None
        for tensor, need, dtype in zip(student, needs, (None, exact, exact), strict=True)
    )
    head = ChunkHead(*student, plan.matmul, plan.chunk)
    teacher = None if plan.teacher is None else ChunkHead(*plan.teacher, plan.matmul, plan.chunk)
    objective = Objective(plan.soft, plan.alpha, plan.beta, differentiate=any(needs))
    sums = torch.zeros(2, dtype=torch.float64, device=student.hidden.device)
    for rows in plan.chunks():
        head.project(rows)
        if teacher is not None:
            teacher.project(rows)
        sums += objective(head, teacher, plan.targets[rows])
        grad_CV = head.logits_CV  # replaced by the gradient in them
        if grad_hidden is not None:
            grad_hidden[rows] = (grad_CV @ head.weight_VD).to(grad_hidden.dtype)
        if grad_weight is not None:
            add_outer(grad_weight, grad_CV, head.hidden_CD)
        if grad_bias is not None:
            grad_bias += grad_CV.sum(0, dtype=exact)
    gradients = (grad_hidden, _like(grad_weight, student.weight), _like(grad_bias, student.bias))
    return sums[0], sums[1], gradients


def _like(gradient: Tensor | None, parameter: Tensor | None) -> Tensor | None:
    return None if gradient is None or parameter is None else gradient.to(parameter.dtype)


def _default_chunk(weight_VD: Tensor) -> int:
    """Tokens of a chunk: 2^23 logits on the CPU, 2^27 on a GPU, which needs larger products to be busy."""
    logits = 1 << (23 if weight_VD.device.type == "cpu" else 27)
    return max(16, logits // len(weight_VD))


def _flat(side: LazyLogits) -> LazyLogits:
    return LazyLogits(side.hidden.reshape(-1, side.hidden.shape[-1]), side.weight, side.bias)


def _detached(side: LazyLogits) -> LazyLogits:
    return LazyLogits(*(None if tensor is None else tensor.detach() for tensor in side))  # type: ignore[arg-type]


def _check(
    student: LazyLogits, teacher: LazyLogits | None, soft: SoftLoss | None, targets_N: Tensor, valid_N: Tensor
) -> None:
    vocab = len(student.weight)
    if (teacher is None) != (soft is None):
        raise TrainingError("a teacher needs a soft loss and a soft loss a teacher", where="distillation_loss")
    if teacher is not None and len(teacher.weight) != vocab:
        raise ModelError(
            f"the teacher has {len(teacher.weight)} tokens and the student {vocab}: they can't be compared",
            where="distillation_loss",
            fix="train both with one tokenizer",
        )
    for name, side in (("student", student), ("teacher", teacher)):
        if side is not None and len(side.hidden) != len(targets_N):
            raise TrainingError(f"{len(targets_N)} targets for {len(side.hidden)} hidden states of the {name}")
    if len(valid_N) and not 0 <= int(targets_N[valid_N].amin()) <= int(targets_N[valid_N].amax()) < vocab:
        raise TrainingError(
            f"a target lies outside the vocabulary of {vocab} tokens",
            where="distillation_loss",
            fix="build the token blocks with this model's tokenizer",
        )
