"""Texts that change their language, and any text at all."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from orchestrator.routers import NONE, TextRouter, spans

ANY = st.text(st.characters(), max_size=60) | st.text(st.sampled_from(' \n`"«.:;?!xé\0\ud800界'), max_size=40)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Peux-tu m'expliquer cette fonction ?\n\ndef add(a, b):\n    return a + b\n", ["fr", "py"]),
        ('Was bedeutet dieser Satz: "The house stands near the river" auf Deutsch?', ["de", "en", "de"]),
        ("The people went to the river. Die Kinder gingen nach Hause.", ["en", "de"]),
        ("Das heißt auf Bulgarisch: Това е изречение на български език.", ["de", NONE]),
        ("Това е изречение на български език.", [NONE]),
        (
            "Auf Chinesisch heißt das: 我明天要去学校。今天天气不好。我不知道。你什么时候来？ Die Kinder gingen.",
            ["de", NONE, "de"],
        ),
        ("?! … --", [NONE]),
    ],
)
def test_a_part_of_each_language(small_router: TextRouter, text: str, labels: list[str]) -> None:
    assert [span.label for span in spans(small_router, text)] == labels


@given(ANY)
@settings(deadline=None, max_examples=200)
def test_spans_of_any_text_are_the_text(small_router: TextRouter, text: str) -> None:
    found = spans(small_router, text)
    assert "".join(span.text for span in found) == text
    assert [text[span.begin : span.end] for span in found] == [span.text for span in found]
    assert {span.label for span in found} <= {*small_router.languages, NONE}
    assert all(a.label != b.label for a, b in pairwise(found))


@given(st.lists(ANY, max_size=6))
@settings(deadline=None, max_examples=200)
def test_any_texts_have_probabilities_alone_and_together(small_router: TextRouter, texts: list[str]) -> None:
    languages, rejected = small_router.route(texts)
    assert languages.shape == (len(texts), len(small_router.languages))
    assert np.isfinite(languages).all()
    assert_allclose(languages.sum(axis=1), 1)
    assert ((rejected >= 0) & (rejected <= 1)).all()
    for row, text in enumerate(texts):
        alone = small_router.route([text])
        assert_allclose(alone.languages[0], languages[row], atol=1e-12)
        assert_allclose(alone.rejected[0], rejected[row], atol=1e-12)
        assert isinstance(small_router.reasons(text, small_router.languages[0]), list)
