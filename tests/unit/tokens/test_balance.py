"""The balanced dataset creator keeps its promises for any documents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import CorpusError
from orchestrator.tokens.balance import Selection, balance, packed_tokens

documents = st.lists(st.integers(0, 300), min_size=1, max_size=40).map(lambda each: np.array(each, dtype=np.int64))


@given(
    st.dictionaries(st.sampled_from(["en", "fr", "de", "py"]), documents, min_size=1),
    st.integers(0, 5),
    st.floats(0.5, 20),
)
@settings(max_examples=150, deadline=None)
def test_languages_are_within_the_range(lengths: dict[str, np.ndarray], seed: int, percent: float) -> None:
    chosen = balance(lengths, "train", seed, percent)
    tokens = [selection.tokens for selection in chosen.values()]
    target = min(packed_tokens(each) for each in lengths.values())
    assert max(tokens) <= target
    # Two tokens are <s> and </s> of a document that would be empty.
    assert max(tokens) - min(tokens) <= max(percent / 100 * max(tokens), 2) + 1e-6
    for language, selection in chosen.items():
        check(lengths[language], selection)


def check(lengths: np.ndarray, selection: Selection) -> None:
    assert len(np.unique(selection.rows)) == len(selection.rows)
    assert (selection.lengths > 0).all()
    whole = slice(None) if selection.cut_from is None else slice(-1)
    np.testing.assert_array_equal(selection.lengths[whole], lengths[selection.rows[whole]])
    if selection.cut_from is not None:
        assert selection.lengths[-1] < selection.cut_from == lengths[selection.rows[-1]]


def test_many_short_documents_stay_whole_and_few_long_ones_are_cut() -> None:
    lengths = {"en": np.full(500, 10), "fr": np.full(3, 2500)}
    chosen = balance(lengths, "train", 0, 5.0, target=3000)
    assert chosen["en"].cut_from is None
    assert 2850 <= chosen["en"].tokens <= 3000
    assert chosen["fr"].cut_from == 2500
    assert chosen["fr"].tokens == 3000


def test_order_depends_on_seed_split_and_language_only() -> None:
    en, fr = np.arange(1, 50), np.arange(50, 99)

    def rows(split: str = "train", seed: int = 0, **lengths: np.ndarray) -> list[int]:
        return balance(lengths, split, seed, 5.0, target=600)["en"].rows.tolist()

    alone = rows(en=en)
    assert alone == rows(en=en, fr=fr) == rows(fr=fr, en=en)
    assert alone != rows(en=en, seed=1)
    assert alone != rows(en=en, split="test")
    assert alone != sorted(alone)


def test_too_little_text_names_counts_and_what_to_set() -> None:
    with pytest.raises(CorpusError) as caught:
        balance({"en": np.array([100]), "fr": np.array([10, 20])}, "train", 0, 5.0, target=90)
    assert "fr: fewer than the 90 train tokens" in caught.value.what
    assert "en 102, fr 34" in caught.value.what
    assert caught.value.fix.startswith("set blocks.balance.tokens_per_language=34 or less")


def test_a_language_slightly_short_of_the_target_is_within_the_range() -> None:
    chosen = balance({"en": np.full(100, 8), "fr": np.full(97, 8)}, "train", 0, 5.0, target=1000)
    assert (chosen["en"].tokens, chosen["fr"].tokens) == (1000, 970)
