from __future__ import annotations

import re

import numpy as np
import pytest

from orchestrator.routers.text.letters import common_letters
from orchestrator.routers.text.pieces import Lengths, Pieces
from orchestrator.routers.text.units import of_characters, of_words, single_words, words_in
from orchestrator.scripts import has_unspaced

CHINESE = "东京的天气怎么样？今天，我使用 Python 编程语言。"
JAPANESE = "東京の天気はどうですか。スタッフとして登録します"
THAI = "ข้อผิดพลาดในการบันทึกข้อมูล"
SPACED = ["The cat sat on the mat.", "नमस्ते दुनिया", "안녕하세요 세계", "Привет, мир!", "don't — stop"]


@pytest.mark.parametrize("text", [CHINESE, JAPANESE, THAI])
def test_pieces_of_scripts_without_spaces_are_as_short_as_what_people_type(text: str) -> None:
    cut = Pieces([text]).cut(Lengths({1: 50, 2: 50}, {5: 50}), np.random.default_rng(0))
    assert len(cut["1 word"]) == len(cut["2 words"]) == len(cut["5 characters"]) == 50
    most = 4 if text == THAI else max(2, len("Python"))
    assert all(len(piece) <= most and piece[0].isalpha() for piece in cut["1 word"])
    assert len(set(cut["1 word"])) > 10
    assert all(len(piece) == 5 for piece in cut["5 characters"])


@pytest.mark.parametrize("text", SPACED)
def test_words_between_spaces_stay_whole(text: str) -> None:
    assert words_in(text) == single_words(text) == text.split()
    for count in (1, 2):
        plain, any_script = (of_words(count, unspaced=unspaced) for unspaced in (False, True))
        assert _found(plain, text) == _found(any_script, text)
    plain, any_script = (of_characters(4, unspaced=unspaced) for unspaced in (False, True))
    assert _found(plain, text) == _found(any_script, text)


def _found(form: re.Pattern[str], text: str) -> list[str | None]:
    return [match and match[0] for match in (form.search(text, place) for place in range(len(text)))]


def test_a_word_of_another_script_inside_is_one() -> None:
    assert has_unspaced(CHINESE)
    assert "Python" in words_in(CHINESE)
    assert {"猫", "我是", "我", "是"} <= {*single_words("猫，我是 ok")}


@pytest.mark.parametrize(
    ("texts", "common", "rare"),
    [
        ([CHINESE], "登录", "録"),
        ([JAPANESE], "録気", "录"),
        (["臺北的天氣怎麼樣", "我們去圖書館看書嗎？"], "學習", "学"),
        (["서울의 날씨는 어떻습니까"], "강남", "江"),
    ],
    ids=["simplified", "japanese", "traditional", "korean"],
)
def test_a_standard_has_the_letters_that_a_corpus_lacks(texts: list[str], common: str, rare: str) -> None:
    letters = common_letters(texts)
    assert len(letters) > 2000
    assert set(common) <= set(letters)
    assert not set(rare) & set(letters)


@pytest.mark.parametrize(
    "texts", [[], [""], ["123"], ["The cat"], ["Привет, мир"], [THAI], ["नमस्ते"], ["a 猫 in a text"]]
)
def test_other_scripts_have_no_such_letters(texts: list[str]) -> None:
    assert common_letters(texts) == []
