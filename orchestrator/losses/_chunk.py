"""The work on one chunk of tokens: products with a head, and the losses of its logits.

On the CPU softmaxes and losses go by a few rows, so that the dozen passes over them stay in the cache.
Shape legend: C tokens of a chunk, R rows of a slice of it, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from orchestrator.allocator import BLOCK
from orchestrator.heads import Head, capped
from orchestrator.losses import native
from orchestrator.losses._base import FLOOR, SoftLoss, row_dot
from orchestrator.losses._precision import exact_type
from orchestrator.products import by_onednn, product

_SLICE = 1 << 17
"""Logits of a slice on the CPU: half a megabyte in fp32, which the second cache of a core holds."""
_BYTES = BLOCK - (1 << 12)
"""Of a chunk's logits on the CPU: glibc adds a few, and hands smaller blocks out again."""
_TILE = 1 << 21
"""Weights of a head that are widened at once: eight megabytes in fp32, little beside a head of 32,000 tokens."""


class ChunkHead:
    """A head applied to one chunk of tokens after another, in one buffer of logits.

    Weights wider than the type of the matrix products are rounded once; narrower ones are widened tile by tile, which
    costs little beside the product and no second head. With `rest` the last entry's logits are given, not multiplied.
    """

    def __init__(
        self, hidden_ND: Tensor, head: Head, kind: torch.dtype, chunk: int, rest_N: Tensor | None = None
    ) -> None:
        self._hidden_ND, self._rest_N, self._exact = hidden_ND, rest_N, exact_type(hidden_ND)
        weight_VD, bias_V, self._scale, self._cap = head
        self._weight_VD = weight_VD.to(kind) if kind.itemsize <= weight_VD.dtype.itemsize else weight_VD
        self._bias_V = None if bias_V is None else bias_V.to(self._exact).clamp(min=FLOOR)
        chunk = min(chunk, len(hidden_ND))
        self._buffer_CV = torch.empty(chunk, len(weight_VD), dtype=kind, device=hidden_ND.device)
        self.logits_CV = self._buffer_CV

    @property
    def plain(self) -> bool:
        """Whether its logits are the product, and nothing else."""
        return self._scale == 1 and self._cap is None and self._bias_V is None and self._rest_N is None

    def take(self, rows: slice | Tensor) -> None:
        """Take up the tokens at `rows`: their `hidden_CD`, and `logits_CV`, still without what follows the product."""
        self.hidden_CD = self._hidden_ND[rows].to(self._buffer_CV.dtype)
        self.logits_CV = self._buffer_CV[: len(self.hidden_CD)]
        self._rest_C = None if self._rest_N is None else self._rest_N[rows]
        if by_onednn(self.hidden_CD, self._weight_VD):  # which takes memory of its own, and leaves the buffer untouched
            self.logits_CV = product(self.hidden_CD, self._weight_VD)
            return
        for part, tile_PD in self._tiles():
            torch.mm(self.hidden_CD, tile_PD.t(), out=self.logits_CV[:, part])  # the bias comes later, unrounded

    def entropies(self, valid_n: Tensor, chunk: int) -> Tensor:
        """Of the distributions at some tokens, [n] in exact arithmetic; `chunk` of them are taken up at once."""
        found = []
        for rows in torch.split(valid_n, chunk):
            self.take(rows)
            for part in _slices(self.logits_CV):
                log_q_RV = torch.log_softmax(self.logits(part), -1)
                found.append(-row_dot(log_q_RV.exp(), log_q_RV))
        return torch.cat(found)

    def grad_hidden(self) -> Tensor:
        """The gradient in `hidden_CD`, where `logits_CV` has been replaced by the gradient in the head's product."""
        grad_CD: Tensor | None = None
        for part, tile_PD in self._tiles():
            grad_PV = self.logits_CV[:, part]
            # A tile is a part of the vocabulary, which the product sums over.
            grad_CD = product(grad_PV, tile_PD.t()) if grad_CD is None else grad_CD.addmm_(grad_PV, tile_PD)
        assert grad_CD is not None
        return grad_CD

    def _tiles(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the head in the type of the products: all, or a few at a time where they have to be widened."""
        weight_VD, kind = self._weight_VD, self._buffer_CV.dtype
        if weight_VD.dtype == kind:
            yield slice(None), weight_VD
            return
        height = max(1, _TILE // weight_VD.shape[1])
        tile_PD = weight_VD.new_empty(height, weight_VD.shape[1], dtype=kind)
        for start in range(0, len(weight_VD), height):
            rows = weight_VD[start : start + height]
            # Every tile is the same memory: whoever takes one is done with it before the next.
            yield slice(start, start + height), tile_PD[: len(rows)].copy_(rows)

    def logits(self, part: slice | Tensor) -> Tensor:
        """The logits [R, V] of some rows of the chunk in exact arithmetic; may be a view of `logits_CV`."""
        logits_RV = self.logits_CV[part].to(self._exact)
        if self._scale != 1:
            logits_RV = logits_RV * self._scale
        logits_RV = capped(logits_RV if self._bias_V is None else logits_RV + self._bias_V, self._cap)
        if self._rest_C is not None:
            logits_RV[:, -1] = self._rest_C[part]
        return logits_RV

    def slope(self, part: slice) -> Tensor | float | None:
        """Derivative of each logit of a slice in the head's product, [R, V] or a number; None: it is 1 everywhere."""
        if self._cap is None:
            return None if self._scale == 1 else self._scale
        return (1 - (self.logits(part) / self._cap).square_()).mul_(self._scale)

    def gradient(self, soft: SoftLoss, log_q_RV: Tensor, q_RV: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """As a teacher: the soft loss [R] and its gradient in the student's logits [R, V]."""
        return soft.from_log_probabilities(log_q_RV, self.logits(part), q_RV)

    def value(self, soft: SoftLoss, log_q_RV: Tensor, part: slice) -> Tensor:
        """As a teacher: the soft loss [R]."""
        return soft.per_token(log_q_RV, self.logits(part))


class ChunkSamples:
    """A teacher that is known from samples, taken up chunk by chunk."""

    def __init__(self, ids_NK: Tensor, entropy_N: Tensor) -> None:
        self._ids_NK, self._entropy_N = ids_NK, entropy_N

    def take(self, rows: slice | Tensor) -> None:
        """Take up the tokens at `rows`."""
        self.ids_CK, self.entropy_C = self._ids_NK[rows], self._entropy_N[rows]

    def gradient(self, soft: SoftLoss, log_q_RV: Tensor, q_RV: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Estimates of the soft loss [R] and of its gradient in the student's logits [R, V]."""
        return soft.from_samples(log_q_RV, self.ids_CK[part], self.entropy_C[part].to(q_RV.dtype), q_RV)

    def value(self, soft: SoftLoss, log_q_RV: Tensor, part: slice) -> Tensor:
        """An estimate of the soft loss [R]."""
        return self.gradient(soft, log_q_RV, log_q_RV.exp(), part)[0]


class ChunkTeacher(Protocol):
    """A teacher on one chunk of tokens after another."""

    def take(self, rows: slice | Tensor) -> None:
        """Take up the tokens at `rows`."""

    def gradient(self, soft: SoftLoss, log_q_RV: Tensor, q_RV: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """The soft loss [R] of a slice of the chunk, and its gradient in the student's logits [R, V]."""

    def value(self, soft: SoftLoss, log_q_RV: Tensor, part: slice) -> Tensor:
        """The soft loss [R]."""


@dataclass(frozen=True)
class Objective:
    """alpha · CE + beta · soft on the logits of a chunk."""

    soft: SoftLoss | None
    alpha: float
    beta: float
    differentiate: bool
    slopes: bool = False

    def __call__(self, student: ChunkHead, teacher: ChunkTeacher | None, targets_C: Tensor) -> Tensor:
        """Sums of CE, soft loss, and their squared slopes if asked for, in fp64 [4].

        Replaces the student's `logits_CV` by the gradient in the head's product.
        """
        kind = self._kernel(student, teacher)
        if kind is not None:
            return self._by_kernel(kind, student, teacher, targets_C)
        # Rows: cross-entropy, soft loss, slope of the one, slope of the other. A run sums millions of tokens, in fp64.
        sums_4C = torch.zeros(4, len(targets_C), dtype=torch.float64, device=targets_C.device)
        for part in _slices(student.logits_CV):
            log_q_RV = torch.log_softmax(student.logits(part), -1)
            targets_R1, sums_4R = targets_C[part, None], sums_4C[:, part]
            # Cross-entropy comes first: the soft loss may overwrite log_q_RV.
            sums_4R[0] = -log_q_RV.gather(1, targets_R1).squeeze(1)
            if self.differentiate:
                slope, out_RV = student.slope(part), student.logits_CV[part]
                self._gradient(log_q_RV, teacher, part, targets_R1, sums_4R, out_RV, slope)
            elif self.soft is not None and teacher is not None:
                sums_4R[1] = teacher.value(self.soft, log_q_RV, part)
        return sums_4C.sum(1)

    def _kernel(self, student: ChunkHead, teacher: ChunkTeacher | None) -> int | None:
        """What our own kernel is to compute; None: torch computes."""
        logits_CV = student.logits_CV
        known = logits_CV.dtype in (torch.float32, torch.bfloat16) and logits_CV.device.type == "cpu"
        if not known or not student.plain or self.slopes or native.library() is None:
            return None
        if self.soft is None or teacher is None:
            return native.NONE
        kind = native.kind_of(self.soft) if self.soft.temperature == 1 else None
        if isinstance(teacher, ChunkSamples):
            return None if kind is None else native.SAMPLES
        return kind if isinstance(teacher, ChunkHead) and teacher.plain else None

    def _by_kernel(self, kind: int, student: ChunkHead, teacher: ChunkTeacher | None, targets_C: Tensor) -> Tensor:
        weights = self.alpha, self.beta
        given = None
        if isinstance(teacher, ChunkSamples | ChunkHead):
            given = teacher.ids_CK if isinstance(teacher, ChunkSamples) else teacher.logits_CV
        losses_2C = native.rows(kind, student.logits_CV, targets_C, given, weights, write=self.differentiate)
        sums_4 = losses_2C.new_zeros(4)
        sums_4[:2] = losses_2C.sum(1)
        if isinstance(teacher, ChunkSamples) and self.soft is not None and self.soft.zero_at_equality:
            sums_4[1] -= teacher.entropy_C.sum(dtype=torch.float64)
        return sums_4

    def _gradient(
        self,
        log_q_RV: Tensor,
        teacher: ChunkTeacher | None,
        part: slice,
        targets_R1: Tensor,
        sums_4R: Tensor,
        out_RV: Tensor,
        slope: Tensor | float | None,
    ) -> None:
        """Write the gradient in the product of the student's head to `out_RV`, and what goes with it to `sums_4R`."""
        # The gradient of cross-entropy is q less 1 at the target: alpha · q is added first, alpha taken off in the end.
        q_RV = log_q_RV.exp()
        if self.slopes:  # before q_RV is overwritten
            q_R = q_RV.gather(1, targets_R1).squeeze(1)
            sums_4R[2] = row_dot(q_RV, q_RV) - 2 * q_R + 1
        if self.soft is None or teacher is None:
            grad_RV = q_RV.mul_(self.alpha)
        else:
            sums_4R[1], grad_RV = teacher.gradient(self.soft, log_q_RV, q_RV, part)
            if self.slopes:
                sums_4R[3] = row_dot(grad_RV, grad_RV)
            grad_RV.mul_(self.beta).add_(q_RV, alpha=self.alpha)
        grad_RV.scatter_add_(1, targets_R1, grad_RV.new_full(targets_R1.shape, -self.alpha))
        out_RV.copy_(grad_RV if slope is None else grad_RV.mul_(slope))


def _slices(logits_CV: Tensor) -> Iterator[slice]:
    """Rows of a chunk, a few at a time. A GPU has no cache to stay in: one pass over the chunk keeps it busy."""
    count, vocab = logits_CV.shape
    step = max(1, _SLICE // vocab) if logits_CV.device.type == "cpu" else max(1, count)
    return (slice(start, start + step) for start in range(0, count, step))


def add_outer(grad_VD: Tensor, grad_CV: Tensor, hidden_CD: Tensor) -> None:
    """grad_VD += grad_CVᵀ · hidden_CD, summed in the type of `grad_VD`."""
    if grad_VD.dtype == grad_CV.dtype and not by_onednn(hidden_CD.t(), grad_CV.t()):
        grad_VD.addmm_(grad_CV.t(), hidden_CD)
        return
    block = max(1, (1 << 22) // grad_VD.shape[1])  # rows whose product is held: four million numbers
    for start in range(0, len(grad_VD), block):
        part = slice(start, start + block)
        grad_VD[part] += product(grad_CV[:, part].t(), hidden_CD.t())


def default_chunk(weight_VD: Tensor, kind: torch.dtype) -> int:
    """Tokens of a chunk: as many as take 32 MiB of logits on the CPU, 2^27 logits on a GPU, which is to be busy.

    Fewer tokens read and write the head and its gradient more often. Of larger blocks glibc asks the system each time,
    which clears them: a tenth of a step's time.
    """
    on_cpu = weight_VD.device.type == "cpu"
    return max(16, (_BYTES // kind.itemsize if on_cpu else 1 << 27) // len(weight_VD))
