"""The one op of distillation: hidden states in, weighted loss out, in chunks of tokens.

Gradients are computed in the forward pass, chunk by chunk, so that logits exist for one chunk only: memory is
chunk × vocabulary instead of tokens × vocabulary, and backward is a multiplication by a number (the idea of Liger
kernel's chunked losses, arXiv:2410.10989). Within a chunk, softmaxes and losses go by a few rows that fit the cache.

Shape legend: N tokens, C tokens of a chunk, R rows of a slice of it, V vocabulary, D width (each model
has its own).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orchestrator.errors import ModelError, TrainingError
from orchestrator.losses._base import FLOOR, SoftLoss

IGNORED = -100
"""Target of a position that is not to be learned."""

_SLICE = 1 << 19
"""Logits of a slice on the CPU: 2 MB in fp32, so that a dozen passes over them stay in the cache."""


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
        matmul: type of the matrix products; None: autocast's where it is on, else that of the hidden states.
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
        matmul=matmul or _matmul_type(student.hidden),
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
        exact = _exact(hidden_ND)
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
    exact = _exact(student.hidden)
    grad_hidden, grad_weight, grad_bias = (
        torch.zeros_like(tensor, dtype=dtype) if need and tensor is not None else None
        for tensor, need, dtype in zip(student, needs, (None, exact, exact), strict=True)
    )
    head = _Head(student, plan.matmul)
    teacher = None if plan.teacher is None else _Head(plan.teacher, plan.matmul)
    sums = torch.zeros(2, dtype=torch.float64, device=student.hidden.device)
    for rows in plan.chunks():
        hidden_CD = head.hidden(rows)
        logits_CV = head.logits(hidden_CD)
        teacher_CV = None if teacher is None else teacher.logits(teacher.hidden(rows))
        sums += _losses(logits_CV, teacher_CV, rows, head, teacher, plan, any(needs))
        grad_CV = logits_CV
        if grad_hidden is not None:
            grad_hidden[rows] = (grad_CV @ head.weight_VD).to(grad_hidden.dtype)
        if grad_weight is not None:
            _add_outer(grad_weight, grad_CV, hidden_CD)
        if grad_bias is not None:
            grad_bias += grad_CV.sum(0, dtype=exact)
    gradients = (grad_hidden, _like(grad_weight, student.weight), _like(grad_bias, student.bias))
    return sums[0], sums[1], gradients


class _Head:
    """A head in the type of the matrix products, applied to one chunk after another."""

    def __init__(self, side: LazyLogits, matmul: torch.dtype) -> None:
        self.hidden_ND, self.matmul = side.hidden, matmul
        self.weight_VD = side.weight.to(matmul)
        self.bias_V = None if side.bias is None else side.bias.to(_exact(side.hidden)).clamp(min=FLOOR)
        self.exact = _exact(side.hidden)

    def hidden(self, rows: slice | Tensor) -> Tensor:
        """Hidden states [C, D] of some tokens."""
        return self.hidden_ND[rows].to(self.matmul)

    def logits(self, hidden_CD: Tensor) -> Tensor:
        """[C, V] without the bias, in the type of the matrix products."""
        return hidden_CD @ self.weight_VD.t()

    def complete(self, logits_RV: Tensor) -> Tensor:
        """The logits of a slice of rows in exact arithmetic, bias added."""
        logits_RV = logits_RV.to(self.exact)
        return logits_RV if self.bias_V is None else logits_RV + self.bias_V


def _losses(
    logits_CV: Tensor,
    teacher_CV: Tensor | None,
    rows: slice | Tensor,
    head: _Head,
    teacher: _Head | None,
    plan: _Plan,
    differentiate: bool,
) -> Tensor:
    """Sums (CE, soft) of a chunk in fp64; replaces its student logits by the gradient in them."""
    targets_C = plan.targets[rows]
    count, vocab = logits_CV.shape
    step = max(1, _SLICE // vocab) if logits_CV.device.type == "cpu" else count
    sums = torch.zeros(2, dtype=torch.float64, device=logits_CV.device)
    for start in range(0, count, step):
        part = slice(start, start + step)
        log_q_RV = torch.log_softmax(head.complete(logits_CV[part]), -1)
        teacher_RV = None if teacher_CV is None or teacher is None else teacher.complete(teacher_CV[part])
        ce_R, soft_R, grad_RV = _rows(log_q_RV, teacher_RV, targets_C[part].unsqueeze(1), plan, differentiate)
        sums[0] += ce_R.sum(dtype=torch.float64)
        if soft_R is not None:
            sums[1] += soft_R.sum(dtype=torch.float64)
        if grad_RV is not None:
            logits_CV[part] = grad_RV
    return sums


def _rows(
    log_q_RV: Tensor, teacher_RV: Tensor | None, targets_R1: Tensor, plan: _Plan, differentiate: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """CE [R], soft loss [R] and the gradient of alpha · CE + beta · soft in the student's logits [R, V]."""
    ce_R1 = -log_q_RV.gather(1, targets_R1)
    q_RV = log_q_RV.exp() if differentiate else None
    soft_R, grad_RV = None, None
    if teacher_RV is not None and plan.soft is not None:
        if differentiate and q_RV is not None and plan.beta:
            soft_R, grad_RV = plan.soft.from_log_probabilities(log_q_RV, teacher_RV, q_RV)
            grad_RV.mul_(plan.beta)
        else:
            soft_R = plan.soft.per_token(log_q_RV, teacher_RV)
    if q_RV is not None and plan.alpha:
        grad_RV = q_RV.mul_(plan.alpha) if grad_RV is None else grad_RV.add_(q_RV, alpha=plan.alpha)
        grad_RV.scatter_add_(1, targets_R1, torch.full_like(ce_R1, -plan.alpha))
    if q_RV is not None and grad_RV is None:
        grad_RV = q_RV.zero_()
    return ce_R1, soft_R, grad_RV


def _add_outer(grad_VD: Tensor, grad_CV: Tensor, hidden_CD: Tensor) -> None:
    """grad_VD += grad_CVᵀ · hidden_CD, summed in the type of grad_VD."""
    if grad_VD.dtype == grad_CV.dtype:
        grad_VD.addmm_(grad_CV.t(), hidden_CD)
        return
    block = max(1, (1 << 22) // grad_VD.shape[1])  # the low-precision product is held for so many rows only
    for start in range(0, len(grad_VD), block):
        part = slice(start, start + block)
        grad_VD[part] += grad_CV[:, part].t() @ hidden_CD


def _exact(tensor: Tensor) -> torch.dtype:
    """Type of softmaxes, losses and sums of gradients."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _like(gradient: Tensor | None, parameter: Tensor | None) -> Tensor | None:
    return None if gradient is None or parameter is None else gradient.to(parameter.dtype)


def _matmul_type(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


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
