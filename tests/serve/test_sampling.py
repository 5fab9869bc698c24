from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.sampling import sample


def draw(logits: list[float], temperature: float, top_p: float, uniforms: torch.Tensor) -> torch.Tensor:
    rows = len(uniforms)
    return sample(
        torch.tensor(logits).expand(rows, -1),
        torch.full((rows,), temperature, dtype=torch.float64),
        torch.full((rows,), top_p, dtype=torch.float64),
        uniforms,
    )


def grid(points: int) -> torch.Tensor:
    return (torch.arange(points, dtype=torch.float64) + 0.5) / points


def test_shares_are_the_softmax_at_that_temperature() -> None:
    logits = [0.3, 2.0, -1.0, 1.1]
    shares = torch.bincount(draw(logits, 0.7, 1.0, grid(100_000)), minlength=4) / 100_000
    torch.testing.assert_close(shares, (torch.tensor(logits) / 0.7).softmax(0), atol=2e-5, rtol=0)


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log().tolist()
    for top_p, kept in [(0.0, {1}), (0.5 - 1e-6, {1}), (0.6, {1, 3}), (0.8, {1, 2, 3}), (1.0, {0, 1, 2, 3})]:
        assert set(draw(logits, 1.0, top_p, grid(10_000)).tolist()) == kept


def test_temperature_zero_is_greedy_beside_rows_that_sample() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0], [0.0, 0.0, 0.0]])
    chosen = sample(logits, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.99, 0.99]))
    assert chosen.tolist() == [1, 2]


@settings(max_examples=50, deadline=None)
@given(
    logits=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=9),
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_any_settings_give_a_token(logits: list[float], temperature: float, top_p: float, uniform: float) -> None:
    token = int(draw(logits, temperature, top_p, torch.tensor([uniform], dtype=torch.float64))[0])
    assert 0 <= token < len(logits)
