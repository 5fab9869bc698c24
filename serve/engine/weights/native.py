"""Products by a kernel of our own: `serve/engine/native/products.cpp`."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from serve.engine.native import library
from serve.engine.weights import plain
from serve.engine.weights._base import Linear, Pack

_LANES = 16
_SMALL = 2**17
"""Weights below which one thread is faster than several."""
_CHUNK, _LINE = 2**26, 64
"""Bytes asked of the system at once, of which only what is written to takes memory; and of a cache line."""
_MOST, _ZERO, _SMALLEST = 127, 128, 1e-30


class _Weights(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("packed", "shift", "scale", "bias")] + [
        (name, ctypes.c_int64) for name in ("inputs", "padded_inputs", "outputs")
    ]


def pack_for(precision: str, device: str | torch.device) -> Pack | None:
    """How weights of a precision are packed for the kernel; None: this machine can't build it, or has no use for it."""
    kernel: Any = library("products") if torch.device(device).type == "cpu" else None
    function = getattr(kernel, f"product_{precision}", None)
    if function is None:
        return None
    pointer = ctypes.c_void_p
    function.argtypes, function.restype = [pointer, pointer, ctypes.c_int64, pointer, ctypes.c_int], None
    kernel.in_large_pages.argtypes, kernel.in_large_pages.restype = [pointer, ctypes.c_int64], None
    return partial(_pack, precision, function)


def _pack(
    precision: str, function: Callable[..., None], weight: Tensor, bias: Tensor | None, activation: str = ""
) -> Linear:
    outputs, inputs = weight.shape
    per = {"fp32": 1, "bf16": 2, "int8": 4}[precision]
    padded = -(-outputs // (2 * _LANES)) * 2 * _LANES
    whole_steps = per if precision == "fp32" else per * _LANES  # a tile's row
    wide = -(-inputs // whole_steps) * whole_steps
    values, scale = weight.detach().float(), torch.zeros(padded)
    if precision == "int8":
        scale[:outputs] = (values.abs().amax(dim=1) / _MOST).clamp(min=_SMALLEST)
        values = (values / scale[:outputs, None]).round_().clamp_(-_MOST, _MOST)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}[precision]
    whole = torch.zeros(padded, wide, dtype=dtype)
    whole[:outputs, :inputs] = values.to(dtype)
    added = torch.zeros(padded)
    if bias is not None:
        added[:outputs] = bias.detach().float()
    kept = {
        "packed": _arena.keep(whole.view(padded // _LANES, _LANES, wide // per, per).transpose(1, 2)),
        "shift": (whole.sum(dim=1, dtype=torch.int32) * -_ZERO).int() if precision == "int8" else None,
        "scale": scale,
        "bias": added,
    }
    return partial(_product, function, _described(kept, inputs, wide, outputs), kept, activation)


class _Arena:
    """Memory in large pages, where weights that are read one after another lie together."""

    def __init__(self) -> None:
        self._chunk, self._taken, self._lock = torch.empty(0, dtype=torch.uint8), 0, threading.Lock()

    def keep(self, values: Tensor) -> Tensor:
        """A contiguous copy, as bytes. The memory is given back with the last copy in it."""
        size = values.numel() * values.element_size()
        with self._lock:
            if self._taken + size > len(self._chunk):
                self._chunk, self._taken = torch.empty(max(size, _CHUNK), dtype=torch.uint8), 0
                library("products").in_large_pages(self._chunk.data_ptr(), len(self._chunk))
            kept = self._chunk[self._taken : self._taken + size]
            self._taken += -(-size // _LINE) * _LINE
        kept.view(values.dtype).view(values.shape).copy_(values)
        return kept


_arena = _Arena()


def _described(kept: dict[str, Tensor | None], inputs: int, wide: int, outputs: int) -> _Weights:
    addresses = {name: None if tensor is None else tensor.data_ptr() for name, tensor in kept.items()}
    return _Weights(**addresses, inputs=inputs, padded_inputs=wide, outputs=outputs)


def _product(
    function: Callable[..., None],
    weights: _Weights,
    kept: dict[str, Tensor | None],  # noqa: ARG001  what the addresses are of
    activation: str,
    states_ND: Tensor,
) -> Tensor:
    states_ND = states_ND.contiguous()
    out = torch.empty(len(states_ND), weights.outputs)
    threads = torch.get_num_threads() if weights.inputs * weights.outputs >= _SMALL else 1
    function(ctypes.byref(weights), states_ND.data_ptr(), len(states_ND), out.data_ptr(), threads)
    return plain.activated(out, activation)
