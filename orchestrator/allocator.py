"""How this process gets memory from the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's numbers for what malloc.h calls M_…
_KEPT = 1 << 30
_MOST = 32 << 20
"""What glibc lets its thresholds grow to by itself."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within, the process keeps memory that it frees, and takes it again as it is; afterwards it gives it back.

    glibc asks the system for each block above 32 MiB, and the system clears it: a tenth of a training step's time where
    logits take such blocks (mallopt(3)). Other C libraries keep their ways.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _KEPT)
    libc.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _MOST)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _MOST)
        libc.malloc_trim(0)
