"""Soft losses between distributions over different tokens: both are added up over the classes of a partition.

A class's logit is the log of the sum of its tokens' exponentials, so a softmax over the classes is the softmax over the
tokens, added up: exact, and rows sum to 1 on both sides. The gradient in a token's logit is its class's, times the
token's share of the class. A class of one token is that token, to the last bit.

Shape legend: C tokens of a chunk, R rows of a slice of it, V student's tokens, W teacher's tokens, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.classes import Classes
from orchestrator.errors import ModelError
from orchestrator.losses._base import SoftLoss
from orchestrator.losses._chunk import ChunkHead


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
        others_RK = logits_RV.new_zeros(len(logits_RV), self._count + 1)
        others_RK = others_RK.scatter_add(1, self._other_V.expand_as(exponentials_RV), exponentials_RV)[:, :-1]
        tiny = torch.finfo(others_RK.dtype).tiny  # the log of 0 has no derivative
        others_RK = torch.where(others_RK > tiny, others_RK.clamp(min=tiny).log() + highest_R1, -torch.inf)
        return torch.logaddexp(first_RK, others_RK)


class ChunkClasses:
    """A teacher of other tokens, taken up chunk by chunk; it says nothing at positions that are not `known`."""

    def __init__(self, teacher: ChunkHead, classes: Classes, known_N: Tensor) -> None:
        self._teacher, self._known_N = teacher, known_N
        self._students = ClassSums(classes.student, classes.count)
        self._teachers = ClassSums(classes.teacher, classes.count)

    def take(self, rows: slice | Tensor) -> None:
        """Take up the tokens at `rows`."""
        self._teacher.take(rows)
        self._known_C = self._known_N[rows]

    def gradient(self, soft: SoftLoss, log_q_RV: Tensor, q_RV: Tensor, part: slice) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The soft loss [R] over classes, and its gradient in the student's logits [R, V]."""
        log_Q_RK, known_R = self._students(log_q_RV), self._known_C[part]
        loss_R, grad_RK = soft.from_log_probabilities(
            log_Q_RK.clone(), self._teachers(self._teacher.logits(part)), log_Q_RK.exp()
        )
        shares_RV = (log_q_RV - log_Q_RK.index_select(1, self._students.classes_V)).exp_()
        grad_RV = grad_RK.index_select(1, self._students.classes_V).mul_(shares_RV)
        return loss_R.masked_fill(~known_R, 0), grad_RV.masked_fill_(~known_R.unsqueeze(1), 0)

    def value(self, soft: SoftLoss, log_q_RV: Tensor, part: slice) -> Tensor:
        """The soft loss [R] over classes."""
        loss_R = soft.per_token(self._students(log_q_RV), self._teachers(self._teacher.logits(part)))
        return loss_R.masked_fill(~self._known_C[part], 0)


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
