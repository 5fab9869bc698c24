"""Attention of rows that decode, a token each, by a kernel of our own: `serve/engine/native/attention.cpp`."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import torch
from torch import Tensor

from serve.engine.cache import Stored
from serve.engine.forward.heads import Heads
from serve.engine.forward.step import Step
from serve.engine.native import library

_SMALL = 2**16
"""Numbers read below which one thread is faster than several."""


def kernel_for(device: torch.device) -> Any:
    """The kernel; None where there is none for this device."""
    found = library("attention") if device.type == "cpu" else None
    if found is not None and found.attend.argtypes is None:
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        sizes = [pointer, size, pointer, pointer, size, size, size, size, size, size]
        found.attend.argtypes, found.attend.restype = [*sizes, ctypes.c_float, pointer, ctypes.c_int], None
    return found


def attend_natively(kernel: Any, query_BD: Tensor, stored: Stored, step: Step, heads: Heads) -> Tensor:
    """See :func:`serve.engine.forward.attention.attend`, of the rows that decode."""
    rows, capacity = len(query_BD), stored.keys.shape[2]
    ends = step.once("ends", lambda: torch.tensor([piece.end for piece in step.decoding]))
    out = torch.empty(rows, heads.queries * heads.width)
    threads = torch.get_num_threads() if rows * step.deepest * heads.keys * heads.width >= _SMALL else 1
    kernel.attend(
        query_BD.data_ptr(), query_BD.stride(0), stored.rows.data_ptr(), ends.data_ptr(), rows, capacity,
        heads.queries, heads.keys, heads.width, heads.window or 0, 1 / math.sqrt(heads.width), out.data_ptr(), threads,
    )  # fmt: skip
    return out
