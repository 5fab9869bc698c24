from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.recipe import CodeFilter
from orchestrator.corpus.cleaning import clean_code, clean_prose, keeps_code


def test_prose_is_normalised() -> None:
    raw = "\ufeffCafe\u0301  du\u00a0coin \r\n\r\n\r\n\r\n  Zwei\u00adte\tZeile\x00 \u2028Ende "
    assert clean_prose(raw) == "Café du coin\n\nZweite Zeile\nEnde"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_prose_cleaning_is_idempotent_and_encodable(text: str) -> None:
    once = clean_prose(text)
    assert clean_prose(once) == once
    assert once == once.strip()
    assert "  " not in once
    assert "\n\n\n" not in once
    assert unicodedata.is_normalized("NFC", once)
    once.encode("utf-8")


def test_code_keeps_its_white_space() -> None:
    assert clean_code("\ufeffif x:\r\n\ty =  1\r\x0c\n") == "if x:\n\ty =  1\n\x0c\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x = compute(1)\n" * 20, True),
        ("x = 1\n", False),
        ("x = compute(1)\n" * 1000, False),
        ("x = compute(1)\n" * 20 + "y" * 300 + "\n", False),
        ("x" * 150 + "\n" + "x" * 150, False),
        ("+-*/ ()[]{}\n" * 20, False),
        (" " * 250, False),
    ],
    ids=["fine", "short", "long", "long line", "long lines", "no letters", "blank"],
)
def test_code_filter(text: str, kept: bool) -> None:
    assert keeps_code(text, CodeFilter(max_characters=5000, max_line_length=200)) is kept


def test_empty_code_is_dropped_without_a_minimum() -> None:
    assert not keeps_code("", CodeFilter(min_characters=0))
