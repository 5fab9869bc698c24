"""Losses and gradients of rows of logits by a kernel of our own, `rows.cpp`: what torch takes a dozen passes for.

What it computes is what :class:`orchestrator.losses._chunk.Objective` computes in torch, which is its law, and which
computes whatever is not here: other losses, temperatures, heads with more than a product, GPUs, fp64.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.native import SWITCH, load

__all__ = ["NAMES", "NONE", "SAMPLES", "SWITCH", "kind_of", "library", "rows"]

NONE, SAMPLES = 0, 4
"""Cross-entropy alone; a soft loss that is estimated from samples."""
NAMES = {"reverse_kl": "ReverseKL", "forward_kl": "ForwardKL", "teacher_cross_entropy": "TeacherCrossEntropy"}
"""The soft losses that it knows, each itself: one that is derived from it may be another."""
_KINDS = {f"orchestrator.losses.{file}:{name}": kind for kind, (file, name) in enumerate(NAMES.items(), 1)}


class _Rows(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("student", "teacher", "target", "ids", "losses")),
        *((name, ctypes.c_int64) for name in ("rows", "vocab", "samples")),
        *((name, ctypes.c_float) for name in ("alpha", "beta")),
    )


@cache
def library() -> Any:
    """The kernel; None where it can't be built, or is not wanted."""
    found = load(Path(__file__).with_name("rows.cpp"))
    if found is not None:
        found.loss_rows.argtypes = [ctypes.POINTER(_Rows), *[ctypes.c_int] * 4]
        found.loss_rows.restype = None
    return found


def kind_of(soft: object) -> int | None:
    """The number of a soft loss; None: it is not known here."""
    return _KINDS.get(f"{type(soft).__module__}:{type(soft).__qualname__}")


def rows(
    kind: int,
    student_CV: Tensor,
    target_C: Tensor,
    teacher: Tensor | None,
    weights: tuple[float, float],
    *,
    write: bool,
) -> Tensor:
    """Cross-entropy and soft loss, fp64 [2, C], without their weights; with `write` the gradient to `student_CV`.

    Args:
        kind: by :func:`kind_of`, or :data:`NONE` or :data:`SAMPLES`.
        student_CV: logits, fp32 or bf16, contiguous.
        target_C: int64.
        teacher: logits [C, V] as the student's, or samples int64 [C, K], without whose entropy the soft loss is told.
        weights: alpha and beta.
    """
    losses_2C = torch.empty(2, len(student_CV), dtype=torch.float64)
    target_C, teacher = target_C.contiguous(), None if teacher is None else teacher.contiguous()
    given = 0 if teacher is None else teacher.data_ptr()
    logits, ids = (0, given) if kind == SAMPLES else (given, 0)
    pointers = (student_CV.data_ptr(), logits, target_C.data_ptr(), ids, losses_2C.data_ptr())
    count = 0 if teacher is None else teacher.shape[1]
    task = _Rows(*pointers, *student_CV.shape, count, *weights)
    bf16 = student_CV.dtype == torch.bfloat16
    library().loss_rows(ctypes.byref(task), kind, bf16, write, torch.get_num_threads())
    return losses_2C
