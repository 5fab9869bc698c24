"""Soft losses between distributions over different tokens: both are added up over the classes of a partition.

A class's logit is the log of the sum of its tokens' exponentials, so a softmax over the classes is the softmax over the
tokens, added up: exact, and rows sum to 1 on both sides. The gradient in a token's logit is its class's, times the
token's share of the class. A class of one token is that token, to the last bit.

Where the student's last token would have been a longer one, had certain tokens of the teacher's followed, these can't.
Where the student's last tokens may be the beginning of a longer one of the teacher's, the teacher's distribution over
what comes next is that of both cases: its own after those tokens, and how its longer tokens go on, each with its
probability where both have last met. Inside of a longer token the first of these is not known: it is one class, "any
other".

Shape legend: C tokens of a chunk, R rows of a slice of it, I of these with a node, V student's tokens, W teacher's
tokens, K classes, L = K + 1 with "any other".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from orchestrator.classes import Classes, Met, Ways
from orchestrator.errors import ModelError
from orchestrator.losses._base import FLOOR, SoftLoss
from orchestrator.losses._chunk import ChunkHead

BARRED = 30.0
"""Nats that a token loses which can't follow: next to nothing is left of it, and no divergence becomes infinite."""


class ClassSums:
    """Logits of classes from those of one vocabulary's tokens."""

    def __init__(self, classes_V: Tensor, count: int) -> None:
        self.classes_V, self._count = classes_V, count
        order_V = torch.argsort(classes_V, stable=True)
        sizes_K = torch.bincount(classes_V, minlength=count)
        self._first_K = order_V[sizes_K.cumsum(0) - sizes_K]
        # The first token of a class counts with its logit as it is. It goes to a column that is thrown away.
        self._other_V = classes_V.index_fill(0, self._first_K, count)
        self._alone = len(classes_V) == count

    def __call__(self, logits_RV: Tensor) -> Tensor:
        """Logits [R, K]: the log of the sum of each class's exponentials. Leaves `logits_RV` alone; differentiable."""
        first_RK = logits_RV.index_select(1, self._first_K)
        if self._alone:
            return first_RK
        highest_R1 = logits_RV.detach().amax(1, keepdim=True)
        exponentials_RV = (logits_RV - highest_R1).exp_()
        others_RL = logits_RV.new_zeros(len(logits_RV), self._count + 1)
        others_RK = others_RL.scatter_add(1, self._other_V.expand_as(exponentials_RV), exponentials_RV)[:, :-1]
        tiny = torch.finfo(others_RK.dtype).tiny  # the log of 0 has no derivative
        others_RK = torch.where(others_RK > tiny, others_RK.clamp(min=tiny).log() + highest_R1, -torch.inf)
        return torch.logaddexp(first_RK, others_RK)


class _Sides(NamedTuple):
    """Both distributions of a slice.

    Attributes:
        log_q: of the student, [R, K] or [R, L].
        log_p: of the teacher, likewise.
        sums: log of the student's probability that each token's logit is a share of, by its class, [R, K].
        other: classes that are "any other", bool [R, K]; None: there is no such class.
    """

    log_q: Tensor
    log_p: Tensor
    sums: Tensor
    other: Tensor | None


class ChunkClasses:
    """A teacher of other tokens, taken up chunk by chunk; where it says nothing, loss and gradient are 0."""

    def __init__(self, teacher: ChunkHead, classes: Classes, met: Met) -> None:
        self._teacher, self._met, self._ways, self._barred = teacher, met, classes.ways, classes.barred
        self._students = ClassSums(classes.student, classes.size)
        self._teachers = ClassSums(classes.teacher, classes.size)

    def take(self, rows: slice | Tensor) -> None:
        """Take up the tokens at `rows`."""
        places_N = torch.arange(len(self._met.known), device=self._met.known.device)
        own_C, self._known_C, self._nodes_C, self._barred_C, before_C = (each[rows] for each in (places_N, *self._met))
        if self._ways is None:
            self._nodes_C = torch.full_like(self._nodes_C, -1)
        self._said_C = self._known_C | (self._nodes_C >= 0)
        # Each of the teacher's rows is multiplied once: most of those before are in the chunk themselves.
        needed = torch.unique(torch.cat([own_C[self._known_C], before_C[self._nodes_C >= 0], own_C[:1]]))  # type: ignore[no-untyped-call]
        self._teacher.take(needed)
        last = len(needed) - 1
        self._own_C, self._before_C = (torch.searchsorted(needed, each).clamp(max=last) for each in (own_C, before_C))

    def gradient(self, soft: SoftLoss, log_q_RV: Tensor, q_RV: Tensor, part: slice) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The soft loss [R] over classes, and its gradient in the student's logits [R, V]."""
        sides, said_R = self._sides(log_q_RV, part), self._said_C[part]
        loss_R, grad_RL = soft.from_log_probabilities(sides.log_q.clone(), sides.log_p, sides.log_q.exp())
        if sides.other is not None:
            grad_RL = torch.where(sides.other, grad_RL[:, -1:], grad_RL[:, :-1])
        shares_RV = (log_q_RV - sides.sums.index_select(1, self._students.classes_V)).exp_()
        grad_RV = grad_RL.index_select(1, self._students.classes_V).mul_(shares_RV)
        return loss_R.masked_fill(~said_R, 0), grad_RV.masked_fill_(~said_R.unsqueeze(1), 0)

    def value(self, soft: SoftLoss, log_q_RV: Tensor, part: slice) -> Tensor:
        """The soft loss [R] over classes."""
        sides = self._sides(log_q_RV, part)
        return soft.per_token(sides.log_q, sides.log_p).masked_fill(~self._said_C[part], 0)

    def _own(self, part: slice) -> Tensor:
        """What the teacher says where it is, log [R, K]; without what can't follow, of which nothing is made up for."""
        logits_RW = self._teacher.logits(self._own_C[part])
        log_p_RK = torch.log_softmax(self._teachers(logits_RW), -1)
        barred_J = (self._barred_C[part] >= 0).nonzero().flatten()
        if self._barred is None or not len(barred_J):
            return log_p_RK
        starts, nodes_J = self._barred.starts, self._barred_C[part][barred_J]
        row_E, way_E = _spread(starts[nodes_J], starts[nodes_J + 1])
        log_p_JW = torch.log_softmax(logits_RW[barred_J], -1)
        log_p_JW[row_E, self._barred.tokens[way_E]] -= BARRED
        return log_p_RK.index_copy(0, barred_J, self._teachers(log_p_JW))

    def _sides(self, log_q_RV: Tensor, part: slice) -> _Sides:
        log_q_RK = self._students(log_q_RV)
        log_p_RK = self._own(part)
        noded_I = (self._nodes_C[part] >= 0).nonzero().flatten()
        if self._ways is None or not len(noded_I):
            return _Sides(log_q_RK, log_p_RK, log_q_RK, None)
        nodes_I, known_I = self._nodes_C[part][noded_I], self._known_C[part][noded_I]
        log_b_IW = torch.log_softmax(self._teacher.logits(self._before_C[part][noded_I]), -1)
        ways = _gone_on(log_b_IW, nodes_I, self._ways, log_q_RK.shape[1])
        inside_I1 = ~known_I.unsqueeze(1)
        # After the node's own token comes what the teacher says here, where it has read it.
        after_IK = (ways.own.unsqueeze(1) * log_p_RK[noded_I].exp()).masked_fill(inside_I1, 0)
        any_I1 = torch.where(inside_I1, ways.own.unsqueeze(1), 0)
        p_IL = torch.cat([ways.longer + after_IK, any_I1], 1)
        tiny = torch.finfo(p_IL.dtype).tiny
        p_IL = p_IL.clamp_(min=tiny).log_()
        other_IK = inside_I1 & ~ways.reached
        kept_IL = torch.cat([~other_IK, inside_I1 & (ways.own > 0).unsqueeze(1)], 1)

        other_RK = torch.zeros_like(log_q_RK, dtype=torch.bool).index_copy_(0, noded_I, other_IK)
        rest_R1 = log_q_RK.masked_fill(~other_RK, -torch.inf).logsumexp(1, keepdim=True).clamp(min=FLOOR)
        kept_RL = torch.ones(len(log_q_RK), log_q_RK.shape[1] + 1, dtype=torch.bool, device=log_q_RK.device)
        kept_RL[:, -1] = False
        kept_RL.index_copy_(0, noded_I, kept_IL)
        log_p_RL = torch.cat([log_p_RK, rest_R1], 1).index_copy_(0, noded_I, p_IL)
        log_q_RL = torch.cat([log_q_RK, rest_R1], 1)
        log_q_RL, log_p_RL = (each.masked_fill(~kept_RL, FLOOR).log_softmax(-1) for each in (log_q_RL, log_p_RL))
        return _Sides(log_q_RL, log_p_RL, torch.where(other_RK, rest_R1, log_q_RK), other_RK)


class _GoneOn(NamedTuple):
    """What the teacher said where both have last met.

    Attributes:
        longer: probability of its tokens that reach beyond the node, by the class that comes next, [I, K].
        reached: classes that come next in one of them, bool [I, K].
        own: probability of the token that is the node's text, [I]; 0 where there is none.
    """

    longer: Tensor
    reached: Tensor
    own: Tensor


def _gone_on(log_b_IW: Tensor, nodes_I: Tensor, ways: Ways, count: int) -> _GoneOn:
    row_E, way_E = _spread(ways.starts[nodes_I], ways.starts[nodes_I + 1])
    token_E, flat_E = ways.tokens[way_E], row_E * count + ways.classes[way_E]
    longer = log_b_IW.new_zeros(len(nodes_I) * count).index_add_(0, flat_E, log_b_IW[row_E, token_E].exp())
    reached = torch.zeros_like(longer, dtype=torch.bool).index_fill_(0, flat_E, True)
    own_I = ways.own[nodes_I]
    own_p_I = log_b_IW.gather(1, own_I.clamp(min=0).unsqueeze(1)).squeeze(1).exp().masked_fill(own_I < 0, 0)
    shape = len(nodes_I), count
    return _GoneOn(longer.view(shape), reached.view(shape), own_p_I)


def _spread(begins_I: Tensor, ends_I: Tensor) -> tuple[Tensor, Tensor]:
    """The row of each entry of ranges, and the entry, [E] each."""
    sizes_I = ends_I - begins_I
    row_E = torch.repeat_interleave(sizes_I)
    return row_E, torch.arange(len(row_E), device=row_E.device) + (begins_I - sizes_I.cumsum(0) + sizes_I)[row_E]


def check_tokens(classes: Classes | None, teacher: int, student: int) -> None:
    """Make sure that two vocabularies of these sizes can be compared: token by token, or by the classes of both.

    Raises:
        ModelError: they can't be.
    """
    if classes is None and teacher != student:
        what = f"the teacher has {teacher} tokens and the student {student}: they can't be compared"
        raise ModelError(what, "distillation_loss", "train both with one tokenizer, or set distillation.alignment")
    if classes is not None and (len(classes.student), len(classes.teacher)) != (student, teacher):
        told = f"{len(classes.student)} and {len(classes.teacher)}"
        what = f"the classes are of {told} tokens, student and teacher have {student} and {teacher}"
        raise ModelError(what, "distillation_loss", "align the tokenizers of these two models")
