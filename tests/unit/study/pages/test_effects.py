import numpy as np
import pytest
from scipy.stats import t

from orchestrator.reporting.effects import effect, from_seeds, minus, only, per_language


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
