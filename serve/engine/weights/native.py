"""Products by a kernel of our own (`native.cpp`), which the machine's compiler builds once."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.contents import cache_folder
from orchestrator.machine import processor
from serve.engine.weights import plain
from serve.engine.weights._base import Linear, Pack

SOURCE = Path(__file__).with_suffix(".cpp")
OFF = "MOME_NATIVE"
"""Environment variable: 0 has torch's own products compute."""
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-Wno-maybe-uninitialized")
_LANES = 16
_SMALL = 2**17
"""Weights below which one thread is faster than several."""
_LARGE = 2**20
"""Weights below which plain torch is as fast in fp32."""
_CHUNK, _LINE = 2**26, 64
"""Bytes asked of the system at once, of which only what is written to takes memory; and of a cache line."""
_MOST, _ZERO, _SMALLEST = 127, 128, 1e-30
log = logging.getLogger("mome.engine")


class _Weights(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("packed", "shift", "scale", "bias")] + [
        (name, ctypes.c_int64) for name in ("inputs", "padded_inputs", "outputs")
    ]


def pack_for(precision: str, device: str | torch.device) -> Pack | None:
    """How weights of a precision are packed for the kernel; None: this machine can't build it, or has no use for it."""
    library = _library() if torch.device(device).type == "cpu" else None
    function = getattr(library, f"product_{precision}", None)
    return None if function is None else partial(_pack, precision, function)


def _pack(
    precision: str, function: Callable[..., None], weight: Tensor, bias: Tensor | None, activation: str = ""
) -> Linear:
    if precision == "fp32" and weight.numel() < _LARGE:
        return plain.pack_fp32(weight, bias, activation)
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
                _library().in_large_pages(self._chunk.data_ptr(), len(self._chunk))
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


@cache
def _library() -> Any:
    """The kernel; None where there is no compiler, another processor, or none is wanted."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if os.environ.get(OFF) == "0" or compiler is None or not _has_avx512():
        return None
    try:
        return _loaded(_built(compiler))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        log.warning("the engine's own products can't be built, torch's compute instead: %s", said.strip()[:500])
        return None


def _has_avx512() -> bool:
    """Whether the processor has the instructions that the source is written in."""
    try:
        return {"avx512f", "avx512bw", "avx512vl"} <= set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False


def _loaded(path: Path) -> Any:
    """The library's functions, as they are called."""
    library = ctypes.CDLL(str(path))
    library.in_large_pages.argtypes, library.in_large_pages.restype = [ctypes.c_void_p, ctypes.c_int64], None
    for precision in ("fp32", "bf16", "int8"):
        function = getattr(library, f"product_{precision}", None)
        if function is not None:
            pointers = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int]
            function.argtypes, function.restype = pointers, None
    return library


def _built(compiler: str) -> Path:
    """The compiled kernel, kept for this processor, compiler and source in the user's cache folder.

    Raises:
        OSError: it can't be kept there, or others could have written it. SubprocessError: it can't be compiled.
    """
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    identity = (SOURCE.read_bytes(), version, processor().encode(), " ".join(_FLAGS).encode())
    folder = cache_folder() / "native"
    path = folder / f"{hashlib.sha256(b'|'.join(identity)).hexdigest()[:32]}.so"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            new = Path(place) / path.name
            command = [compiler, *_FLAGS, str(SOURCE), "-o", str(new)]
            subprocess.run(command, capture_output=True, check=True, timeout=600, text=True)
            new.replace(path)  # whoever else builds it has built the same
    for made in (folder, path):
        if (facts := made.stat()).st_uid != os.getuid() or facts.st_mode & 0o022:
            raise OSError(f"others can write to {made}: remove it")
    return path
