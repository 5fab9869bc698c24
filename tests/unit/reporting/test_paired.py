import math

import numpy as np
import pytest

from orchestrator.reporting.paired import paired_ratio


def test_ratio_of_perplexities_with_students_interval() -> None:
    rng = np.random.default_rng(0)
    others = rng.normal(100, 30, 400)
    losses = others + rng.normal(1.0, 2.0, 400)
    found = paired_ratio(losses, others, np.arange(400), context=10, confidence=0.95)
    differences = (losses - others) / 10
    half = 1.965927 * differences.std(ddof=1) / 20
    assert found["ratio"] == pytest.approx(math.exp(differences.mean()))
    assert found["interval"][0] == pytest.approx(math.exp(differences.mean() - half))
    assert found["interval"][1] == pytest.approx(math.exp(differences.mean() + half))


def test_blocks_of_one_work_count_once() -> None:
    rng = np.random.default_rng(0)
    others, works = rng.normal(100, 30, 40), np.repeat(np.arange(10), 4)
    losses = others + np.repeat(rng.normal(1.0, 2.0, 10), 4)
    found = paired_ratio(losses, others, works, 10, 0.95)["interval"]
    once = paired_ratio(losses[::4], others[::4], np.arange(10), 10, 0.95)["interval"]
    assert found == pytest.approx(once)


@pytest.mark.parametrize("works", [[0], [0, 1], [0, 0, 1, 1, 1]])
def test_fewer_than_three_works_have_no_interval(works: list[int]) -> None:
    ones = np.ones(len(works))
    assert paired_ratio(ones, ones, np.array(works), 1, 0.95) == {"ratio": 1.0, "interval": None}
