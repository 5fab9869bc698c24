from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.engine.adjusting import Adjustment
from serve.engine.native import SWITCH, library
from serve.engine.randomness import uniform
from serve.engine.sampling import CANDIDATES, choose
from serve.messages import Sampling


@pytest.fixture(autouse=True, scope="module", params=["kernel", "torch"])
def _by(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "0" if request.param == "torch" else "1")
        library.cache_clear()
        yield
    library.cache_clear()


@dataclass
class Fixed:
    """A row with a number of its own."""

    sampling: Sampling
    number: float = 0.5

    def uniform(self) -> float:
        return self.number

    def adjust(self, logits_V: torch.Tensor) -> None:
        Adjustment(self.sampling, ()).apply(logits_V)


def draw(logits: list[float], points: int = 1, **how: Any) -> torch.Tensor:
    rows = [Fixed(Sampling(**how), (i + 0.5) / points) for i in range(points)]
    return torch.tensor(choose(torch.tensor(logits).expand(points, -1), rows))


@pytest.mark.parametrize("filters", [{}, {"min_p": 1e-9}], ids=["without filters", "with filters"])
def test_shares_are_the_softmax_at_that_temperature(filters: dict[str, float]) -> None:
    logits = [0.3, 2.0, -1.0, 1.1]
    shares = torch.bincount(draw(logits, 20_000, temperature=0.7, **filters), minlength=4) / 20_000
    torch.testing.assert_close(shares, (torch.tensor(logits) / 0.7).softmax(0), atol=1e-4, rtol=0)


def test_shares_of_a_large_vocabulary_are_the_softmax_too() -> None:
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 2
    shares = torch.bincount(draw(logits.tolist(), 20_000), minlength=1000) / 20_000
    torch.testing.assert_close(shares, logits.softmax(0), atol=1e-4, rtol=0)


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log().tolist()
    for top_p, kept in [(0.0, {1}), (0.5 - 1e-6, {1}), (0.6, {1, 3}), (0.8, {1, 2, 3}), (1.0, {0, 1, 2, 3})]:
        assert set(draw(logits, 2000, top_p=top_p).tolist()) == kept


def test_top_k_and_min_p_leave_the_most_probable() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log().tolist()
    for how, kept in [({"top_k": 1}, {1}), ({"top_k": 2}, {1, 3}), ({"min_p": 0.29}, {1, 2, 3}), ({"min_p": 1.0}, {1})]:
        assert set(draw(logits, 2000, **how).tolist()) == kept
    # Half of what top-k leaves, not of everything.
    assert set(draw(logits, 2000, top_k=2, top_p=0.66).tolist()) == {1}


@pytest.mark.parametrize(
    "how",
    [
        {"top_p": 0.999},
        *(pytest.param(how, marks=pytest.mark.long) for how in ({"min_p": 0.3}, {"top_k": 400})),
        {"top_k": 400, "top_p": 0.9},
    ],
)
def test_filters_that_leave_many_tokens_are_exact_too(how: dict[str, float]) -> None:
    logits = torch.randn(600, generator=torch.Generator().manual_seed(3)) * 0.3
    order = logits.argsort(descending=True)
    shares = logits.softmax(0).double()[order]
    kept = torch.arange(600) < how.get("top_k", 600)
    mass = shares[kept].sum()
    kept &= (shares.cumsum(0) - shares) / mass < how.get("top_p", 1.0)
    kept &= shares / shares[0] >= how.get("min_p", 0.0)
    assert kept.sum() > CANDIDATES
    drawn = set(draw(logits.tolist(), 8_000, **how).tolist())
    assert drawn == set(order[kept].tolist())


def test_temperature_zero_is_greedy_beside_rows_that_sample() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0], [0.0, 0.0, 0.0]])
    assert choose(logits, [Fixed(Sampling(temperature=0.0), 0.99), Fixed(Sampling(), 0.99)]) == [1, 2]


def test_bias_and_penalties_are_what_they_say() -> None:
    how = Sampling(
        logit_bias={0: 2.0, 99: 1.0}, frequency_penalty=0.5, presence_penalty=0.25, repetition_penalty=2.0
    )  # fmt: skip
    adjustment = Adjustment(how, prompt=[3])
    for token in (1, 1, 2):
        adjustment.push(token)
    logits = torch.tensor([1.0, 4.0, -1.0, 2.0, 5.0])
    adjustment.apply(logits)
    assert logits.tolist() == [3.0, 4 / 2 - 2 * 0.5 - 0.25, -1 * 2 - 0.5 - 0.25, 1.0, 5.0]


def test_a_bias_makes_a_token_certain_or_impossible_and_leaves_the_models_logits_alone() -> None:
    logits = torch.zeros(2, 5)
    rows = [Fixed(Sampling(temperature=0.0, logit_bias={3: 100.0})), Fixed(Sampling(logit_bias={2: -100.0}))]
    assert choose(logits, rows)[0] == 3
    assert 2 not in draw([0.0] * 5, 1000, logit_bias={2: -100.0}).tolist()
    assert not logits.any()


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    top_k=st.none() | st.integers(1, 400),
    min_p=st.floats(0, 1),
)
ROWS = st.builds(Fixed, SAMPLINGS, st.floats(0, 1, exclude_max=True))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(ROWS, min_size=1, max_size=5),
    st.integers(2, 600),
    st.integers(0, 2**16),
    st.sampled_from([0.0, 1.0, 30.0, 1e4]),
)
def test_a_row_gets_its_token_whatever_rows_are_beside_it(
    rows: list[Fixed], vocabulary: int, seed: int, scale: float
) -> None:
    logits = scale * torch.randn(len(rows), vocabulary, generator=torch.Generator().manual_seed(seed))
    chosen = choose(logits, rows)
    assert all(0 <= token < vocabulary for token in chosen)
    assert chosen == [choose(logits[i : i + 1], rows[i : i + 1])[0] for i in range(len(rows))]
    for token, row_logits, row in zip(chosen, logits, rows, strict=True):
        if (top_k := row.sampling.top_k) is not None:
            assert (row_logits > row_logits[token]).sum() < top_k
        if row.sampling.temperature > 1e-3 and row.sampling.min_p > 0:
            share = ((row_logits[token] - row_logits.max()) / row.sampling.temperature).exp()
            assert share >= row.sampling.min_p * (1 - 1e-4)


@pytest.mark.parametrize("kind", ["1", "avx2"])
def test_the_kernel_draws_what_torch_draws(kind: str) -> None:
    logits = 4 * torch.randn(40, 1000, generator=torch.Generator().manual_seed(1))[:, :777]
    logits[:, 5], logits[7:9, :770] = float("-inf"), float("-inf")  # a constraint leaves few, all in the last block
    rows = [Fixed(Sampling(temperature=i / 16), (i + 0.5) / 40) for i in range(40)]
    found = []
    for switch in (kind, "0"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SWITCH, switch)
            library.cache_clear()
            found.append(choose(logits, rows))
    library.cache_clear()
    assert found[0] == found[1]


@given(st.integers(), st.integers(0, 100), st.integers(0, 10**6))
def test_a_number_belongs_to_seed_stream_and_place(seed: int, stream: int, place: int) -> None:
    number = uniform(seed, stream, place)
    assert 0 <= number < 1
    assert number == uniform(seed, stream, place)
    assert (
        len(
            {
                number,
                uniform(seed, stream, place + 1),
                uniform(seed + 1, stream, place),
                uniform(seed, stream + 1, place),
            }
        )
        == 4
    )


def test_numbers_are_spread_evenly() -> None:
    numbers = torch.tensor([uniform(5, 0, place) for place in range(20_000)], dtype=torch.float64)
    shares = torch.histc(numbers, 20, 0, 1) / 20_000
    assert (shares - 0.05).abs().max() < 0.01
    assert abs(torch.corrcoef(torch.stack([numbers[1:], numbers[:-1]]))[0, 1]) < 0.03
