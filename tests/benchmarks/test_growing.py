"""The bench of growing cost: slopes are those of the points, and its parts run at tiny sizes."""

from __future__ import annotations

import pytest

from benchmarks.growing import Growing, slopes
from orchestrator.plugins import create


def test_slopes_and_exponents_are_those_of_the_points() -> None:
    points = [(float(size), 3.0 * size**2, 100.0 + 5 * size, 7.0) for size in (1, 2, 4)]
    rows = {(row.case, row.metric): row for row in slopes("x", "a further one", points)}
    assert rows["x, exponent", "CPU time"].ours == pytest.approx(2)
    assert rows["x, a further one", "memory"].ours == pytest.approx(5)
    assert rows["x, a further one", "memory"].baseline == pytest.approx(30)
    assert rows["x, a further one", "memory without files"].ours == pytest.approx(0, abs=1e-9)
    assert list(slopes("x", "a further one", points[:1])) == []


@pytest.mark.slow
def test_rows_hold_every_size_and_slopes() -> None:
    tiny = {"tokens": (20_000, 40_000), "vocabularies": (400, 900), "experts": (1, 2), "language_tokens": 20_000}
    bench = create("benchmarks", "growing", {**tiny, "teacher_tokens": 4096, "trained": 1024, "batch": 1024})
    assert isinstance(bench, Growing)
    rows = {(row.case, row.metric): row for row in bench.rows()}
    for case in ("tokens, 40,000: expert", "vocabulary, 900: sampled_cache", "experts, 2: evaluation"):
        assert rows[case, "CPU time"].ours > 0
        assert rows[case, "memory"].ours > rows[case, "memory without files"].ours > 10
    for case in ("tokens: all, a further million", "vocabulary: hidden_cache, a further thousand"):
        assert rows[case, "CPU time"].baseline > 0
    cut = rows["vocabulary, 900: hidden_cache, cut", "size of the expert"]
    assert cut.ours < cut.baseline
