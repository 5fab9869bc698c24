"""Products by a kernel of our own: `serve/engine/native/products.h`."""

from __future__ import annotations

import ctypes
import threading
from functools import partial

import torch
from torch import Tensor

from serve.engine.native import library
from serve.engine.weights import plain
from serve.engine.weights._base import Linear, Pack

_LANES = 16
SMALL = 2**17
"""Weights below which one thread is faster than several."""
_CHUNK, _LINE = 2**26, 64
"""Bytes asked of the system at once, of which only what is written to takes memory; and of a cache line."""
_MOST, _ZERO, _SMALLEST = 127, 128, 1e-30


class Weights(ctypes.Structure):
    """`Weights` of `precisions.h`."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("packed", "shift", "scale", "bias")] + [
        (name, ctypes.c_int64) for name in ("inputs", "padded_inputs", "outputs")
    ]


def pack_for(precision: str, device: str | torch.device) -> Pack | None:
    """How weights of a precision are packed for the kernel; None: this machine can't build it, or has no use for it."""
    if torch.device(device).type != "cpu" or library() is None:
        return None
    return partial(_pack, precision)


def _pack(precision: str, weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
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
    return Product(precision, kept, (inputs, wide, outputs), activation)


class Product:
    """fp32 [N, inputs] to fp32 [N, outputs].

    Args:
        precision: of the weights.
        kept: them as the kernel reads them, by the names of :class:`Weights`.
        shape: inputs, padded inputs, outputs.
        activation: "" or "gelu_tanh".

    Attributes:
        weights: what the kernel is told of them.
        size: numbers of the weight.
    """

    def __init__(
        self, precision: str, kept: dict[str, Tensor | None], shape: tuple[int, int, int], activation: str
    ) -> None:
        self.precision, self._kept, self._activation = precision, kept, activation
        addresses = {name: None if tensor is None else tensor.data_ptr() for name, tensor in kept.items()}
        self.weights = Weights(**addresses, **dict(zip(("inputs", "padded_inputs", "outputs"), shape, strict=True)))
        self.size, self._outputs = shape[0] * shape[2], shape[2]
        self._function, self._address = getattr(library(), f"product_{precision}"), ctypes.addressof(self.weights)

    def __call__(self, states_ND: Tensor) -> Tensor:
        """See :data:`Linear`."""
        states_ND = states_ND.contiguous()
        out = torch.empty(len(states_ND), self._outputs)
        threads = torch.get_num_threads() if self.size >= SMALL else 1
        self._function(self._address, states_ND.data_ptr(), len(states_ND), out.data_ptr(), threads)
        return plain.activated(out, self._activation)


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
                library().in_large_pages(self._chunk.data_ptr(), len(self._chunk))
            kept = self._chunk[self._taken : self._taken + size]
            self._taken += -(-size // _LINE) * _LINE
        kept.view(values.dtype).view(values.shape).copy_(values)
        return kept


_arena = _Arena()
