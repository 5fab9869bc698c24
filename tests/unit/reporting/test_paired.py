import math

import numpy as np
import pytest

from orchestrator.reporting.paired import paired_ratio


def test_ratio_of_perplexities_with_a_normal_interval() -> None:
    rng = np.random.default_rng(0)
    others = rng.normal(100, 30, 400)
    losses = others + rng.normal(1.0, 2.0, 400)
    found = paired_ratio(losses, others, context=10, confidence=0.95)
    differences = (losses - others) / 10
    half = 1.959964 * differences.std(ddof=1) / 20
    assert found["ratio"] == pytest.approx(math.exp(differences.mean()))
    assert found["interval"][0] == pytest.approx(math.exp(differences.mean() - half))
    assert found["interval"][1] == pytest.approx(math.exp(differences.mean() + half))


def test_a_single_block_leaves_the_interval_open() -> None:
    assert paired_ratio(np.array([1.0]), np.array([1.0]), 1, 0.95) == {"ratio": 1.0, "interval": [0.0, math.inf]}
