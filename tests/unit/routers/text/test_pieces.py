from __future__ import annotations

import numpy as np
import pytest

from orchestrator.routers.text.pieces import Lengths, Pieces, code_only, weights_of

PROSE = ["The cat sat on the mat. It was 5 o'clock, and nobody came.", "12 34 !?", "Another day went by."]
CODE = '"""A module about cats."""\n\n\ndef meow(times):  # how often\n    """Say it."""\n    return "meow " * times\n'


def test_pieces_begin_at_words_and_hold_letters() -> None:
    cut = Pieces(PROSE).cut(Lengths({1: 40, 3: 10}, {20: 10}), np.random.default_rng(0))
    assert set(cut) == {"1 word", "3 words", "20 characters"}
    assert len(cut["1 word"]) == 40
    assert all(any(c.isalpha() for c in piece) for pieces in cut.values() for piece in pieces)
    assert all(len(piece.split()) == 3 for piece in cut["3 words"])
    assert all(len(piece) == 20 for piece in cut["20 characters"])


def test_texts_shorter_than_a_piece_give_none() -> None:
    assert Pieces(["one two"]).cut(Lengths({5: 10}, {50: 10}), np.random.default_rng(0)) == {
        "5 words": [],
        "50 characters": [],
    }
    assert not Pieces([])
    assert not Pieces(["12", ""])


def test_code_is_cut_without_its_prose() -> None:
    pieces = Pieces([CODE] * 3)
    assert pieces.is_code
    assert not Pieces(PROSE).is_code
    code = code_only(CODE)
    assert "module" not in code
    assert "often" not in code
    assert "Say" not in code
    assert 'return "meow " * times' in code
    assert "cats" not in pieces.words()
    assert any("return" in line for line in pieces.lines(20, np.random.default_rng(0)))
    assert Pieces(PROSE).lines(20, np.random.default_rng(0)) == []


def test_words_that_python_would_take_for_names_are_no_code() -> None:
    assert not Pieces(["登录", "ข้อผิดพลาด", "Settings", "not found", "yes or no", "12"]).is_code
    assert Pieces(["print(1)", "x = 1", "import os"]).is_code


@pytest.mark.parametrize("broken", ["'''never closed", "def f(:\n  x\n y", "\0", "if x:\n\tpass\n        pass"])
def test_code_that_cannot_be_read_is_no_error(broken: str) -> None:
    assert isinstance(code_only(broken), str)


def test_words_weigh_by_the_root_of_their_count() -> None:
    words, weights = weights_of(Pieces(["a a a a b"]).words(), 30.0)
    assert dict(zip(words, weights.tolist(), strict=True)) == pytest.approx({"a": 20.0, "b": 10.0})
