"""The cache bench at a tiny size."""

from __future__ import annotations

import pytest

from benchmarks.cache import Cache


@pytest.mark.slow
def test_speed_loss_shares_and_flops() -> None:
    sizes = {"student_layers": 1, "student_width": 8, "student_heads": 2, "teacher_layers": 2, "teacher_width": 12}
    bench = Cache(
        vocab=60, context=8, teacher_heads=2, batch=2, steps=3, warmup=1, repeats=1, precisions=("fp32",), **sizes
    )
    rows = list(bench.rows())
    speed, loss, *shares, flops = rows
    assert speed.metric == "speed"
    assert speed.ratio > 0
    assert loss.ratio == pytest.approx(1, abs=1e-3)
    parts = [row.ratio for row in shares if "hidden_cache" in row.case]
    assert sum(parts) == pytest.approx(1)
    assert 0 < flops.ratio < 1
