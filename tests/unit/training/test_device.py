"""bf16 where it is faster, fp32 where it is not."""

from __future__ import annotations

import pytest
import torch

from orchestrator.training.device import autocast


@pytest.mark.parametrize(("fast", "precision", "expected"), [
    (True, "bf16", torch.bfloat16),
    (False, "bf16", torch.float32),
    (True, "fp32", torch.float32),
])  # fmt: skip
def test_cpus_compute_in_bf16_only_where_that_is_faster(monkeypatch, fast, precision, expected):
    monkeypatch.setattr("orchestrator.training.device.fast_bf16", lambda: fast)
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
