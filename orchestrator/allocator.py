"""How this process gets memory from the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's numbers for what malloc.h calls M_…
BLOCK = 32 << 20
"""Bytes of a block from which on glibc asks the system for it alone; what it lets its own threshold grow to."""
_KEPT = 8 * BLOCK


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within, the process keeps up to 256 MiB that it has freed, and takes them again; afterwards it gives them back.

    glibc keeps 64 MiB, less than a training step frees at once. The system clears what it hands out anew: a fifth of a
    cached step's time (mallopt(3)). Blocks of 32 MiB and more come from the system in any case, and other C libraries
    keep their ways.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, BLOCK)
    libc.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        libc.mallopt(_TRIM_THRESHOLD, 2 * BLOCK)
        libc.malloc_trim(0)
