from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.training.lr import learning_rate


def test_rises_linearly_and_learns_from_the_first_step():
    rates = [learning_rate(step, 100, 1.0, warmup=0.1) for step in range(11)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(1.0)


@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd"])
def test_ends_at_its_final_share(decay):
    assert learning_rate(99, 100, 2.0, warmup=0.1, decay=decay, final=0.25) == pytest.approx(0.5)


def test_cosine_is_halfway_in_the_middle():
    assert learning_rate(50, 101, 1.0, warmup=0, decay="cosine", final=0.0) == pytest.approx(0.5)


def test_wsd_is_stable_until_the_last_fifth():
    rates = [learning_rate(step, 100, 1.0, warmup=0.1, decay="wsd", final=0.0) for step in range(100)]
    assert rates[10:81] == [1.0] * 71
    assert rates[81:] == pytest.approx([1 - n / 19 for n in range(1, 20)])


def test_constant_stays():
    assert learning_rate(99, 100, 3.0, warmup=0.1, decay="constant") == 3.0


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 300),
    warmup=st.floats(0, 0.99),
    decay=st.sampled_from(["cosine", "linear", "constant", "wsd"]),
    final=st.floats(0, 1),
)
def test_is_positive_until_the_end_and_never_above_the_peak(steps, warmup, decay, final):
    rates = [learning_rate(step, steps, 1.0, warmup, decay, final) for step in range(steps)]
    assert all(0 < rate <= 1 + 1e-12 for rate in rates[:-1])
    assert 0 <= rates[-1] <= 1 + 1e-12
