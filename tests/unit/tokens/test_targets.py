"""How much of each language is trained on: by tokens, bytes or characters, and by temperature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.identity import identity
from orchestrator.config.recipe import BalanceConfig
from orchestrator.tokens.balance import balance, packed_tokens
from orchestrator.tokens.targets import shared

sizes = st.dictionaries(st.sampled_from(["en", "fr", "de", "py"]), st.integers(1, 10**6), min_size=1)


@given(sizes, st.lists(st.floats(0.5, 6), min_size=4, max_size=4))
@settings(max_examples=100, deadline=None)
def test_without_a_temperature_all_have_as_much_of_the_unit_as_the_smallest(
    available: dict[str, int], rates: list[float]
) -> None:
    per_token = dict(zip(available, rates, strict=False))
    found = shared(available, per_token, BalanceConfig(unit="bytes"))
    amounts = [found[language] * per_token[language] for language in found]
    assert max(amounts) - min(amounts) <= max(per_token.values())  # a token, by rounding
    assert all(found[language] <= available[language] for language in found)
    assert min(available[language] - found[language] for language in found) == 0


@given(sizes, st.floats(1, 100))
@settings(max_examples=100, deadline=None)
def test_a_temperature_lies_between_all_text_and_equal_shares(available: dict[str, int], temperature: float) -> None:
    ones = dict.fromkeys(available, 1.0)
    found = shared(available, ones, BalanceConfig(temperature=temperature, max_repeats=10**9))
    most = max(available.values())
    for language, tokens in found.items():
        assert available[language] <= tokens + 1
        assert tokens <= most
        assert tokens == pytest.approx(most * (available[language] / most) ** (1 / temperature), abs=1)
    assert shared(available, ones, BalanceConfig(temperature=1.0)) == available


def test_repeats_end_somewhere_and_a_total_may_be_asked_for() -> None:
    available, ones = {"en": 1_000_000, "eu": 10_000}, {"en": 1.0, "eu": 1.0}
    assert shared(available, ones, BalanceConfig(temperature=2.0)) == {"en": 1_000_000, "eu": 40_000}
    assert shared(available, ones, BalanceConfig(temperature=2.0, max_repeats=20)) == {"en": 1_000_000, "eu": 100_000}
    found = shared(available, ones, BalanceConfig(temperature=2.0, max_repeats=20, tokens_per_language=55_000))
    assert found == {"en": 100_000, "eu": 10_000}


def test_documents_are_taken_again_as_whole_passes() -> None:
    lengths = {"en": np.full(100, 48), "eu": np.array([8, 18, 28])}
    wanted = {"en": 5_000, "eu": 200}
    chosen = balance(lengths, "train", 3, 5.0, wanted, repeat=True)
    assert chosen["en"].tokens == 5_000
    assert 190 <= chosen["eu"].tokens <= 200
    rows = chosen["eu"].rows
    assert sorted(rows[:3]) == sorted(rows[3:6]) == sorted(rows[6:9]) == [0, 1, 2]
    again = balance(lengths, "train", 3, 5.0, wanted, repeat=True)
    assert (again["eu"].rows == rows).all()


@given(st.integers(1, 400), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_repeated_selections_end_near_their_target(target: int, seed: int) -> None:
    lengths = {"eu": np.array([3, 0, 9, 20])}
    chosen = balance(lengths, "train", seed, 5.0, {"eu": target}, repeat=True)["eu"]
    assert chosen.tokens <= target
    assert chosen.tokens >= target * 0.95 - 3
    assert packed_tokens(chosen.lengths) == chosen.tokens


def test_recipes_without_them_are_the_same_recipes() -> None:
    assert identity(BalanceConfig()) == {}
    assert identity(BalanceConfig(unit="tokens", temperature=None, max_repeats=4.0)) == {}
    assert identity(BalanceConfig(unit="bytes", temperature=3)) == {"unit": "bytes", "temperature": 3.0}
