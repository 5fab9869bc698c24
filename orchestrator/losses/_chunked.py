"""The one op of distillation: hidden states in, weighted loss out, in chunks of tokens.

Gradients are computed in the forward pass, chunk by chunk, so that logits exist for one chunk only: memory is
chunk × vocabulary instead of tokens × vocabulary, and backward is a multiplication by a number (the idea of Liger
kernel's chunked losses, arXiv:2410.10989).
Shape legend: N tokens, C tokens of a chunk, V vocabulary, D width (each model has its own).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orchestrator.classes import Classes, Met
from orchestrator.errors import TrainingError
from orchestrator.heads import Head
from orchestrator.losses._base import SoftLoss
from orchestrator.losses._chunk import ChunkHead, ChunkSamples, ChunkTeacher, Objective, add_outer, default_chunk
from orchestrator.losses._classes import ChunkClasses, check_tokens
from orchestrator.losses._positions import ALL, Positions
from orchestrator.losses._precision import exact_type, product_type
from orchestrator.moving import moved

IGNORED = -100
"""Target of a position that is not to be learned."""


class LazyLogits(NamedTuple):
    """Logits not yet computed: hidden states and the head.

    Attributes:
        hidden: [N, D] or [B, T, D].
        weight: [V, D]; may be the embedding's (tied).
        bias: [V] or None; −inf masks an entry.
        scale, cap: what follows the head, see :class:`orchestrator.heads.Head`.
        rest: of a teacher: the last entry's logits, [N] or [B, T], in place of the head's product, where that entry
            stands for all tokens that the student lacks.
        classes: of a teacher with other tokens than the student: what both are compared by; None: tokens.
        met: of such a teacher: where it has read the same text.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None
    rest: Tensor | None = None
    classes: Classes | None = None
    met: Met | None = None

    @property
    def head(self) -> Head:
        """The head."""
        return Head(*self[1:5])


class SampledLogits(NamedTuple):
    """What is known of a teacher's logits from samples.

    Attributes:
        ids: tokens drawn from its distribution, int64 [N, K] or [B, T, K].
        entropy: of the distribution, [N] or [B, T].
    """

    ids: Tensor
    entropy: Tensor


Teaching = LazyLogits | SampledLogits
"""What is known of a teacher's distributions."""


class LossSums(NamedTuple):
    """Sums over the valid tokens, scalars in fp32; only `loss` carries a gradient.

    Attributes:
        loss: alpha · ce + beta · soft.
        ce: cross-entropy with the targets.
        soft: the soft loss (0 without a teacher).
        tokens: number of valid ones, int64. One place divides by its global sum.
        ce_slope, soft_slope: squared norm of each loss's own gradient in the logits; 0 where not asked for.
        hidden: the loss between hidden states (0 without one).
    """

    loss: Tensor
    ce: Tensor
    soft: Tensor
    tokens: Tensor
    ce_slope: Tensor
    soft_slope: Tensor
    hidden: Tensor


def distillation_loss(
    student: LazyLogits,
    targets: Tensor,
    *,
    teacher: Teaching | None = None,
    soft: SoftLoss | None = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    chunk: int | None = None,
    matmul: torch.dtype | None = None,
    slopes: bool = False,
    positions: Positions = ALL,
) -> LossSums:
    """Sum of alpha · CE(student, targets) + beta · soft(student, teacher) over valid tokens (paper, equation 1).

    Args:
        student: hidden states, weight and bias that require it get a gradient; so backward may be called once.
        targets: int64 [N] or [B, T]; positions of :data:`IGNORED` change nothing, whatever their hidden states hold.
            On the CPU, wherever the hidden states are, they can be looked at without waiting for a GPU.
        teacher: gets no gradient; None: cross-entropy only.
        soft: the soft loss; None exactly where there is no teacher.
        alpha: weight of cross-entropy.
        beta: weight of the soft loss.
        chunk: tokens whose logits are held at once, None: by device; it changes no result beyond rounding.
        matmul: type of the matrix products, see :func:`product_type` for None; softmaxes and sums are exact.
        slopes: compute `ce_slope` and `soft_slope` too, when there are gradients at all.
        positions: where the soft loss is computed: fewer are less to multiply with the teacher's head. Its sum is
            scaled to stand for all of them. Cross-entropy is computed at all.

    Raises:
        ModelError: the vocabularies of student and teacher differ.
        TrainingError: shapes don't fit, a target is outside the vocabulary, a teacher comes without a soft loss, or
            samples of one with a loss that can't be estimated from them.
    """
    student, targets_N = _flat(student), targets.reshape(-1)
    teacher = None if teacher is None else _taught(teacher)
    valid_N = (targets_N != IGNORED).nonzero().flatten()
    _check(student, teacher, soft, targets_N, valid_N)
    larger = max((side.weight for side in (student, teacher) if isinstance(side, LazyLogits)), key=len)
    matmul = matmul or product_type(student.hidden)
    chunk, grad = chunk or _evenly(len(valid_N), default_chunk(larger, matmul)), torch.is_grad_enabled()
    targets_N, valid_N = (moved(each, student.hidden.device) for each in (targets_N, valid_N))
    plan = _Plan(targets_N, valid_N, teacher, soft, alpha, beta, chunk, matmul, grad, slopes, positions)
    hidden, weight, bias, *after = student[:5]
    return plan.sums(*_ChunkedLoss.apply(hidden, weight, bias, after, plan))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Plan:
    targets: Tensor
    valid: Tensor  # indices of the positions to learn
    teacher: Teaching | None
    soft: SoftLoss | None
    alpha: float
    beta: float
    chunk: int
    matmul: torch.dtype
    differentiate: bool
    slopes: bool
    positions: Positions

    def parts(self, student: ChunkHead) -> Iterator[tuple[Iterator[slice | Tensor], float]]:
        """Chunks of positions, and by what their soft loss counts: 0 where it is not computed."""
        if self.soft is None or self.positions.share == 1:
            # Where all positions are learned, slices spare the copy that an index makes.
            whole = len(self.valid) == len(self.targets)
            rows = (slice(start, start + self.chunk) for start in range(0, len(self.valid), self.chunk))
            yield (each if whole else self.valid[each] for each in rows), 1.0
            return
        taught, others, scale = self.positions.choose(self.valid, lambda: student.entropies(self.valid, self.chunk))
        yield iter(torch.split(taught, self.chunk)), scale
        yield iter(torch.split(others, self.chunk)), 0.0

    def sums(self, loss: Tensor, sums_4: Tensor) -> LossSums:
        ce, soft, ce_slope, soft_slope = sums_4
        tokens = self.targets.new_full((), len(self.valid))
        return LossSums(loss, ce, soft, tokens, ce_slope, soft_slope, torch.zeros_like(ce))


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        after: list[Any],  # scale and cap
        plan: _Plan,
    ) -> tuple[Tensor, Tensor]:
        needs = [need and plan.differentiate for need in ctx.needs_input_grad[:3]]
        with torch.autocast(hidden_ND.device.type, enabled=False):
            sums, gradients = _run(LazyLogits(hidden_ND, weight_VD, bias_V, *after), plan, needs)
        # In the parameters' type only now that the chunk's buffers are gone: this is where bf16 would peak.
        ctx.gradients = tuple(map(_like, gradients, (hidden_ND, weight_VD, bias_V)))
        exact = exact_type(hidden_ND)
        loss = (plan.alpha * sums[0] + plan.beta * sums[1]).to(exact)
        sums = sums.to(exact)
        ctx.mark_non_differentiable(sums)
        return loss, sums

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the distillation loss hands out its gradients once; it can't be differentiated again")
        gradients, ctx.gradients = ctx.gradients, None
        return (*(None if g is None else g.mul_(grad_loss.to(g.dtype)) for g in gradients), None, None)


def _run(student: LazyLogits, plan: _Plan, needs: list[bool]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """What :class:`Objective` sums, in fp64, and the gradients of the loss in hidden states, weight and bias.

    Those of weight and bias are summed, and given, in exact arithmetic.
    """
    exact = exact_type(student.hidden)
    grad_hidden, grad_weight, grad_bias = (
        torch.zeros_like(tensor, dtype=dtype) if need and tensor is not None else None
        for tensor, need, dtype in zip(student[:3], needs, (None, exact, exact), strict=True)
    )
    head = ChunkHead(student.hidden, student.head, plan.matmul, plan.chunk)
    teacher = _chunk_teacher(plan)
    sums = torch.zeros(4, dtype=torch.float64, device=student.hidden.device)
    for part, scale in plan.parts(head):
        soft, taught = (plan.soft, teacher) if scale else (None, None)
        objective = Objective(soft, plan.alpha, plan.beta * scale, differentiate=any(needs), slopes=plan.slopes)
        for rows in part:
            head.take(rows)
            if taught is not None:
                taught.take(rows)
            found = objective(head, taught, plan.targets[rows])
            found[1::2] *= scale
            sums += found
            # From here `logits_CV` is the gradient in the head's product.
            if grad_hidden is not None:
                grad_hidden[rows] = head.grad_hidden().to(grad_hidden.dtype)
            if grad_weight is not None:
                add_outer(grad_weight, head.logits_CV, head.hidden_CD)
            if grad_bias is not None:
                grad_bias += head.logits_CV.sum(0, dtype=exact) / student.scale
    return sums, (grad_hidden, grad_weight, grad_bias)


def _evenly(count: int, most: int) -> int:
    """Size of the chunks that `count` tokens fall into, as few as are of at most `most`: no small one is left over."""
    return max(1, math.ceil(count / max(1, math.ceil(count / most))))


def _chunk_teacher(plan: _Plan) -> ChunkTeacher | None:
    if isinstance(plan.teacher, SampledLogits):
        return ChunkSamples(*plan.teacher)
    if plan.teacher is None:
        return None
    hidden, classes, met = plan.teacher.hidden, plan.teacher.classes, plan.teacher.met
    if classes is None or met is None:
        return ChunkHead(hidden, plan.teacher.head, plan.matmul, plan.chunk, plan.teacher.rest)
    # Of each of its tokens the teacher's row may be needed, and one before.
    return ChunkClasses(ChunkHead(hidden, plan.teacher.head, plan.matmul, 2 * plan.chunk), classes, met)


def _like(gradient: Tensor | None, parameter: Tensor | None) -> Tensor | None:
    return None if gradient is None or parameter is None else gradient.to(parameter.dtype)


def _flat(side: LazyLogits) -> LazyLogits:
    """Positions in one dimension."""
    rest, met = None if side.rest is None else side.rest.reshape(-1), None if side.met is None else side.met.flat()
    return side._replace(hidden=side.hidden.reshape(-1, side.hidden.shape[-1]), rest=rest, met=met)


def _taught(teacher: Teaching) -> Teaching:
    """Positions in one dimension, without a graph."""
    if isinstance(teacher, SampledLogits):
        return SampledLogits(teacher.ids.reshape(-1, teacher.ids.shape[-1]), teacher.entropy.reshape(-1))
    flat = _flat(teacher)
    rest = None if flat.rest is None else flat.rest.detach()
    return LazyLogits(flat.hidden.detach(), *flat.head.unchanging, rest, flat.classes, flat.met)


def _check(
    student: LazyLogits,
    teacher: Teaching | None,
    soft: SoftLoss | None,
    targets_N: Tensor,
    valid_N: Tensor,
) -> None:
    vocab = len(student.weight)
    if (teacher is None) != (soft is None):
        raise TrainingError("a teacher needs a soft loss and a soft loss a teacher", where="distillation_loss")
    if isinstance(teacher, SampledLogits) and soft is not None and not soft.linear_in_teacher:
        what = f"{type(soft).__name__} can't be estimated from samples of the teacher"
        fix = "use forward_kl, or a teacher whose hidden states are known (live, hidden_cache)"
        raise TrainingError(what, where="distillation_loss", fix=fix)
    if isinstance(teacher, LazyLogits):
        check_tokens(teacher.classes, len(teacher.weight), vocab)
    for name, side in (("student", student), ("teacher", teacher)):
        if side is not None and len(side[0]) != len(targets_N):
            raise TrainingError(f"{len(targets_N)} targets for {len(side[0])} positions of the {name}")
    if len(valid_N) and not 0 <= int(targets_N[valid_N].amin()) <= int(targets_N[valid_N].amax()) < vocab:
        raise TrainingError(
            f"a target lies outside the vocabulary of {vocab} tokens",
            where="distillation_loss",
            fix="build the token blocks with this model's tokenizer",
        )
