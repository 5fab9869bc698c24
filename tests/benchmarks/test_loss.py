"""The loss bench at tiny sizes: its rows, and that what it compares is the same loss."""

from __future__ import annotations

import pytest
import torch

from benchmarks._loss import Problem, Sizes, dense, ours
from benchmarks._rows import compare, in_turn
from benchmarks.loss import Loss
from orchestrator.plugins import create

TINY = {"tokens": 24, "vocab": 50, "student": 8, "teacher": 12, "check_tokens": 10, "repeats": 2}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_rows_hold_time_memory_and_errors() -> None:
    rows = list(create("benchmarks", "loss", TINY).rows())
    assert [row.metric for row in rows] == 2 * [
        "time",
        "peak memory",
        "gradient error, hidden states",
        "gradient error, head",
    ]
    assert [row.case for row in rows] == 4 * ["CPU, fp32, beside dense torch"] + 4 * ["CPU, bf16, beside dense torch"]
    exact, rounded = (row.ours for row in rows if row.metric == "gradient error, head")
    assert exact < 1e-6 < rounded < 0.05
    assert all(row.ours > 0 and row.baseline > 0 for row in rows if row.metric == "time")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_both_ways_give_the_same_gradients(dtype: torch.dtype, tolerance: float) -> None:
    problem = Problem.draw(Sizes(20, 50, 8, 12), dtype)
    for a, b in zip(ours(problem), dense(problem), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_actions_take_turns() -> None:
    called: list[str] = []
    seconds = in_turn({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, repeats=2)
    assert called == ["a", "b"] * 3
    assert [len(series) for series in seconds.values()] == [2, 2]


def test_a_row_compares_medians() -> None:
    row = compare("case", "time", "s", [1.0, 3.0, 2.0], [4.0, 8.0, 5.0])
    assert (row.ours, row.baseline, row.ratio, row.spread) == (2.0, 5.0, 0.4, 1.0)


def test_the_default_sizes_are_those_of_the_claim() -> None:
    bench = Loss()
    assert (bench.tokens, bench.vocab, bench.student, bench.teacher) == (4096, 32_000, 768, 1024)
