"""bf16 where it is faster, fp32 where it is not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from orchestrator.errors import OutOfMemoryError
from orchestrator.training.device import agree_on_arithmetic, autocast, enough_memory


@pytest.mark.parametrize(("fast", "precision", "expected"), [
    (True, "bf16", torch.bfloat16),
    (False, "bf16", torch.float32),
    (True, "fp32", torch.float32),
])  # fmt: skip
def test_cpus_compute_in_bf16_only_where_that_is_faster(monkeypatch, fast, precision, expected):
    monkeypatch.setattr("orchestrator.training.device.fast_bf16", lambda: fast)
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.mark.parametrize(("first", "mine"), [(True, False), (False, True)])
def test_workers_compute_as_the_first_of_them(monkeypatch, first, mine):
    """Whatever is faster on their own CPU."""
    decided = []

    def all_reduce(values):
        values.fill_(int(first))

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    monkeypatch.setattr("orchestrator.training.device.fast_bf16", lambda: decided[-1] if decided else mine)
    monkeypatch.setattr("orchestrator.training.device.fast_onednn", lambda: mine)
    monkeypatch.setattr("orchestrator.training.device.decide", lambda *fast: decided.extend(fast))
    found = agree_on_arithmetic(torch.device("cpu"), "bf16", rank=1, world_size=2)
    assert (decided, found) == ([first, first], "bf16" if first else "fp32")


def test_a_want_of_memory_is_told_with_what_mends_it():
    """torch's own error, in a process that may have 400 MB more than it has."""
    code = """
import resource, torch
from orchestrator.training.device import enough_memory
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + 400_000_000,) * 2)
with enough_memory(8, torch.device("cpu")):
    torch.ones(1_000_000_000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "OutOfMemoryError: there is too little memory to compute 8 blocks at once on cpu" in done.stderr
    assert "resources.micro_batch=4: the same steps, with less memory" in done.stderr


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes") as caught, enough_memory(8, torch.device("cpu")):
        raise RuntimeError("shapes differ")
    assert not isinstance(caught.value, OutOfMemoryError)
