"""Kernels of our own, which the machine's compiler builds once and keeps for later processes."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.native import SWITCH, load

__all__ = ["SWITCH", "library"]


@cache
def library() -> Any:
    """The functions of `kernels.cpp`; None where there is no compiler, another processor, or none are wanted."""
    found: Any = load(Path(__file__).with_name("kernels.cpp"))
    if found is None:
        return None
    pointer, size, threads = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    kinds = {
        "in_large_pages": [pointer, size],
        "choose": [pointer, size, size, size, pointer, pointer, pointer, threads],
    }
    for precision in ("fp32", "bf16", "int8"):
        kinds[f"product_{precision}"] = [pointer, pointer, size, pointer, threads]
        kinds[f"compute_{precision}"] = [pointer, pointer, threads]
    for name, arguments in kinds.items():
        getattr(found, name).argtypes, getattr(found, name).restype = arguments, None
    return found
