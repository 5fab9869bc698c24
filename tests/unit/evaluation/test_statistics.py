from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.evaluation import statistics
from orchestrator.evaluation.statistics import paired_difference, percentile_interval, resampled_means, wilson


def test_resampled_means_spread_like_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, (400, 1))
    means = resampled_means(values, 4000, seed=1)
    assert means.shape == (4000, 1)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)
    low, high = percentile_interval(means, 0.95)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * means.std(), values.mean() + 1.96 * means.std()), abs=0.02
    )


def test_columns_share_their_resamples() -> None:
    values = np.random.default_rng(0).normal(size=(50, 1))
    means = resampled_means(np.hstack([values, values + 3]), 200, seed=1)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 3)


def test_memory_bound_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    whole = resampled_means(values, 101, seed=[4, 2])
    monkeypatch.setattr(statistics, "MAX_DRAWS", 70)
    np.testing.assert_allclose(resampled_means(values, 101, seed=[4, 2]), whole)
    assert not np.allclose(resampled_means(values, 101, seed=[4, 3]), whole)


def test_one_block_has_no_spread() -> None:
    assert percentile_interval(resampled_means([[2.5]], 100, 0), 0.95) == (2.5, 2.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.5, 0.999))
def test_wilson_holds_the_share(successes: int, more: int, confidence: float) -> None:
    count = successes + more
    low, high = wilson(successes, count, confidence)
    assert 0 <= low <= high <= 1
    if count:
        assert low - 1e-12 <= successes / count <= high + 1e-12


def test_wilson_known_value() -> None:
    assert wilson(9, 10, 0.95) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(0, 0, 0.95) == (0.0, 1.0)


def test_paired_difference_is_the_paired_t_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(4, 1, 7), rng.normal(4.2, 1, 7)
    found, expected = paired_difference(a, b, 0.9), stats.ttest_rel(a, b).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.mean, found.count) == (pytest.approx((a - b).mean()), 7)
    assert paired_difference(a, a + 1).excludes_zero
    assert not paired_difference([1, 2, 3], [3, 2, 1]).excludes_zero


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), ([], [])])
def test_too_few_pairs_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="two equally long"):
        paired_difference(a, b)
