"""Memory that is freed stays where it is asked for, and goes back afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.allocator import kept_memory

CODE = """
import resource
import psutil, torch
from orchestrator.allocator import kept_memory

SIZE = 256 << 20
resident = lambda: psutil.Process().memory_info().rss
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = resident()
with kept_memory():
    torch.ones(SIZE // 4)
    kept, handed = resident() - before, faults()
    torch.ones(SIZE // 4)  # the same memory again
    print(kept > SIZE / 2, faults() - handed < SIZE / 4096 / 10)
print(resident() - before < SIZE / 4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_is_kept_within_and_given_back_after() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]


def test_a_decorated_function_can_be_called_again() -> None:
    @kept_memory()
    def add(a: int, b: int) -> int:
        return a + b

    assert [add(1, 2), add(3, 4)] == [3, 7]
