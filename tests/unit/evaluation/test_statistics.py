from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.evaluation import statistics
from orchestrator.evaluation.statistics import (
    paired_difference,
    percentile_interval,
    resampled_means,
    share_of_blocks,
    wilson,
)
from orchestrator.works import by_work, expanded, independent


def test_resampled_means_spread_like_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, (400, 1))
    means = resampled_means(values, np.arange(400), 4000, seed=1)
    assert means.shape == (4000, 1)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)
    low, high = percentile_interval(means, 0.95, 400)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * means.std(), values.mean() + 1.96 * means.std()), abs=0.02
    )


def test_columns_share_their_resamples() -> None:
    values = np.random.default_rng(0).normal(size=(50, 1))
    means = resampled_means(np.hstack([values, values + 3]), np.arange(50) // 4, 200, seed=1)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 3)


def test_memory_bound_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    whole = resampled_means(values, np.arange(30) // 3, 101, seed=[4, 2])
    monkeypatch.setattr(statistics, "MAX_DRAWS", 70)
    np.testing.assert_allclose(resampled_means(values, np.arange(30) // 3, 101, seed=[4, 2]), whole)
    assert not np.allclose(resampled_means(values, np.arange(30) // 3, 101, seed=[4, 3]), whole)


@pytest.mark.parametrize("works", [[0], [0, 0, 0], [0, 1, 1, 0]])
def test_fewer_than_three_works_have_no_interval(works: list[int]) -> None:
    means = resampled_means(np.arange(float(len(works)))[:, None], works, 100, 0)
    assert percentile_interval(means, 0.95, independent(works)) is None


def test_a_resample_is_a_mean_over_blocks_of_whole_works() -> None:
    values, works = np.array([[1.0], [1.0], [1.0], [5.0]]), [7, 7, 7, 9]
    found = set(np.round(resampled_means(values, works, 200, 0)[:, 0], 9))
    assert found == {1.0, 2.0, 5.0}  # (3 × 1 + 5) / 4 in the middle: not 3


def documents(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of documents of 1 to 12 blocks, that differ more between documents than within one."""
    works = np.repeat(np.arange(count), rng.integers(1, 13, count))
    return rng.normal(0, 1, count)[works] + rng.normal(0, 0.5, len(works)), works


@pytest.mark.parametrize("count", [6, 12, 40])
def test_intervals_cover_the_truth_as_often_as_they_say(count: int) -> None:
    rng, covered = np.random.default_rng(count), {"blocks": 0, "works": 0}
    for _ in range(200):
        values, works = documents(rng, count)
        for name, of in (("blocks", np.arange(len(values))), ("works", works)):
            low, high = percentile_interval(resampled_means(values[:, None], of, 400, 1), 0.9, independent(of))
            covered[name] += low <= 0 <= high
    assert covered["blocks"] / 200 < 0.65
    assert 0.84 <= covered["works"] / 200 <= 0.96


def test_linearised_values_are_those_of_the_ratio() -> None:
    values, works = documents(np.random.default_rng(1), 30)
    found = by_work(values, works)
    assert found.shape == (30,)
    assert found.mean() == pytest.approx(values.mean())
    np.testing.assert_allclose(by_work(values - 2 * values**2, works), found - 2 * by_work(values**2, works))
    resampled = resampled_means(values[:, None], works, 4000, 1)
    assert found.std(ddof=1) / np.sqrt(30) == pytest.approx(resampled.std(), rel=0.1)
    np.testing.assert_allclose(by_work(values, np.arange(len(values))), values)


def test_independent_works() -> None:
    assert independent(np.arange(50) // 5) == pytest.approx(10)
    assert independent([0, 1, 1, 2, 2, 2]) == pytest.approx(36 / 14)
    assert independent([0, 0, 1]) == 0
    assert independent([0] * 50 + [1, 2, 3]) == 0  # one work is nearly all


def test_few_works_are_covered_as_by_students_t() -> None:
    assert expanded(0.95, 10_000) == pytest.approx(0.95, abs=1e-3)
    assert 0.95 < expanded(0.95, 10) < expanded(0.95, 4) < 1


def test_a_share_of_blocks() -> None:
    rng = np.random.default_rng(0)
    apart = rng.random(400) < 0.8
    independent = wilson(int(apart.sum()), 400, 0.95)
    assert share_of_blocks(apart, np.arange(400), 0.95) == pytest.approx(independent, abs=0.002)
    together = np.repeat(rng.random(40) < 0.8, 10)
    low, high = share_of_blocks(together, np.repeat(np.arange(40), 10), 0.95)
    once = wilson(int(together[::10].sum()), 40, 0.95)
    assert (low, high) == pytest.approx(once, abs=0.01)
    assert share_of_blocks(np.ones(400), np.arange(400) // 100, 0.95) == pytest.approx(wilson(4, 4, 0.95), abs=1e-9)


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
