"""Whole words: without case and marks, as many as are read, the same alone and in a batch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from orchestrator.routers.text.linear import exact
from orchestrator.routers.text.vocabulary import Vocabulary
from orchestrator.routers.text.words import Words, first_words, word_hashes

TEXTS = ["Où est “la gare” ?", "", " \n", "x" * 300, "a b c d e f g h i j", "\ud800 \0 fin."]


def test_a_word_is_the_same_in_any_case_and_between_any_marks() -> None:
    assert len(set(word_hashes("«Maison», (maison) MAISON!"))) == 1
    assert word_hashes("Die Straße.") == word_hashes("die „Straße“")


def test_the_first_words_are_read() -> None:
    assert first_words("a b c d e f g h i j") == list("abcdefgh")
    assert first_words("x" * 300 + " y") == ["x" * 160]


def test_rows_are_the_words_of_these_texts() -> None:
    rows = np.array([4, 1, 0, 4])
    chosen = Words.of(TEXTS).of_rows(rows)
    again = Words.of([TEXTS[row] for row in rows])
    assert_array_equal(chosen.hashes, again.hashes)
    assert_array_equal(chosen.counts, again.counts)


def test_known_words_alone_and_in_a_batch() -> None:
    vocabulary = Vocabulary.of(["Die Gare est là.", "LA"], ["Die Gare"])
    shares = vocabulary.known(Words.of(TEXTS))
    assert shares.tolist() == [vocabulary.known_alone(word_hashes(text)) for text in TEXTS]
    assert shares[0] == 3 / 5  # "où" is not, and neither is the mark that stands alone
    assert shares[1] == shares[2] == 0


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=50), st.randoms())
def test_sums_of_exact_weights_are_the_same_in_any_order(values: list[float], random) -> None:
    weights = exact(np.array(values * 100), 2.0**-8)
    shuffled = weights.tolist()
    random.shuffle(shuffled)
    assert np.float32(weights.astype(np.float64).sum()) == np.add.reduce(np.array(shuffled, np.float32))
    assert_array_equal(weights.astype(np.float16).astype(np.float32), weights)
    assert np.abs(weights - np.clip(values * 100, -8, 8)).max() <= 2.0**-9
