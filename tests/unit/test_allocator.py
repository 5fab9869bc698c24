"""Memory that is freed stays where it is asked for, and goes back afterwards."""

from __future__ import annotations

import sys

import psutil
import pytest
import torch

from orchestrator.allocator import kept_memory

SIZE = 256 << 20


def resident() -> int:
    """Bytes of this process."""
    return int(psutil.Process().memory_info().rss)


def faults() -> int:
    """Pages that the system has handed this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_is_kept_within_and_given_back_after() -> None:
    before = resident()
    with kept_memory():
        torch.ones(SIZE // 4)
        assert resident() - before > SIZE / 2
        handed = faults()
        torch.ones(SIZE // 4)  # the same memory again
        assert faults() - handed < SIZE / 4096 / 10
    assert resident() - before < SIZE / 4


def test_a_decorated_function_can_be_called_again() -> None:
    @kept_memory()
    def add(a: int, b: int) -> int:
        return a + b

    assert [add(1, 2), add(3, 4)] == [3, 7]
