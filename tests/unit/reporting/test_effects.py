import numpy as np
import pytest
from scipy.stats import t

from orchestrator.reporting.effects import effect, from_seeds, minus, only, per_language, ratio


def runs(*seeds: float, blocks: int = 50) -> dict:
    rng = np.random.default_rng(0)
    noise = {language: rng.normal(0, 1, blocks) for language in ("en", "fr")}
    return {
        number: {lang: seed + each - each.mean() for lang, each in noise.items()} for number, seed in enumerate(seeds)
    }


def test_interval_over_seeds_is_students() -> None:
    found = effect(runs(1.0, 2.0, 3.0), 0.95)
    half = t.ppf(0.975, 2) / np.sqrt(3)
    assert found.value == pytest.approx(2)
    assert found.over_seeds == pytest.approx((2 - half, 2 + half))
    assert found.interval == found.over_seeds
    assert found.covers == "3 seeds"


def test_interval_over_blocks_is_a_bootstrap_within_languages() -> None:
    found = effect(runs(1.0), 0.95)
    assert found.over_seeds is None
    low, high = found.interval
    deviation = np.mean([losses.var() for losses in runs(1.0)[0].values()]) ** 0.5
    assert (high - low) / 2 == pytest.approx(1.96 * deviation / np.sqrt(100), rel=0.15)
    assert found == effect(runs(1.0), 0.95)  # the same draws


def test_blocks_are_paired() -> None:
    found = effect(minus(runs(1.5), runs(1.0)), 0.95)
    assert found.over_blocks == pytest.approx((0.5, 0.5))


def test_only_shared_seeds_and_languages_are_compared() -> None:
    first, second = runs(1.0, 2.0), only(runs(0.5), "fr")
    assert {seed: set(losses) for seed, losses in minus(first, second).items()} == {0: {"fr"}}
    assert per_language(first, 0.95)["en"].value == pytest.approx(1.5)


def test_a_single_block_has_no_interval() -> None:
    assert effect(runs(1.0, blocks=1), 0.95).interval is None


def test_from_seeds() -> None:
    assert from_seeds([0.2], 0.95, noise=0.1).interval == pytest.approx((0.1, 0.3))
    assert from_seeds([0.2], 0.95).covers == "one seed, no interval"
    assert from_seeds([0.1, 0.3], 0.95, noise=0.01).interval == from_seeds([0.1, 0.3], 0.95).over_seeds


class TestRatio:
    def test_of_a_part_that_is_in_proportion_is_certain(self) -> None:
        whole = runs(2.0)
        part = {seed: {lang: 0.4 * each for lang, each in losses.items()} for seed, losses in whole.items()}
        found = ratio(part, whole, 0.95)
        assert found is not None
        assert (found.value, *found.interval) == pytest.approx((0.4, 0.4, 0.4))

    def test_interval_is_that_of_ratios_of_resampled_works(self) -> None:
        rng = np.random.default_rng(1)
        whole = {0: {lang: 2 + rng.normal(0, 0.5, 60) for lang in ("en", "fr")}}
        part = {0: {lang: 0.4 * each + rng.normal(0, 0.3, 60) for lang, each in whole[0].items()}}
        found = ratio(part, whole, 0.95)
        draws = rng.integers(60, size=(4000, 2, 60))
        sums = [
            np.mean([losses[lang][draws[:, i]].mean(1) for i, lang in enumerate(("en", "fr"))], axis=0)
            for losses in (part[0], whole[0])
        ]
        assert found is not None
        assert found.value == pytest.approx(effect(part, 0.95).value / effect(whole, 0.95).value)
        assert found.interval == pytest.approx(np.quantile(sums[0] / sums[1], [0.025, 0.975]), abs=0.01)

    def test_interval_over_seeds_where_there_are_several(self) -> None:
        found = ratio(runs(0.9, 1.0, 1.1), runs(2.0, 2.0, 2.0), 0.95)
        assert found is not None
        assert found.over_seeds == pytest.approx((0.5 - 0.124, 0.5 + 0.124), abs=0.001)

    def test_of_what_may_be_nothing_there_is_none(self) -> None:
        assert ratio(runs(1.0), runs(0.0), 0.95) is None
        assert ratio(runs(1.0, 1.0), runs(0.1, 2.0), 0.95) is None
