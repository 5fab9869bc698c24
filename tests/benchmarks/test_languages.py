"""The bench of languages at a tiny size, on made-up catalogues and a made-up peer."""

from __future__ import annotations

import random
import re

import pytest

from benchmarks import _catalogues
from benchmarks import languages as bench
from benchmarks._catalogues import messages, split
from benchmarks.languages import Languages, near_duplicates_found, pieces_of

LETTERS = {"en": "abcdefghijklm", "ru": "абвгдежзиклмн", "zh": "的一是了我不人在他有这个上们来到时大"}


def made_up(language: str, count: int) -> dict[str, str]:
    """A message in English and its translation, of random words of a language's letters."""
    draw = random.Random(language)
    space = "" if language == "zh" else " "
    words = ["".join(draw.choices(LETTERS[language], k=draw.randint(2, 6))) for _ in range(60)]
    return {f"message {n}": space.join(draw.choices(words, k=draw.randint(1, 8))) for n in range(count)}


def test_each_language_has_its_near_duplicates_and_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "messages", lambda languages: {name: made_up(name, 300) for name in languages})
    monkeypatch.setattr(bench, "prose_peers", lambda languages: {"always en": lambda text: "en"})
    few = Languages(("en", "ru", "zh"), pieces=30, training_pieces=200, documents=5, parts=("duplicates", "router"))
    rows = list(few.rows())
    assert [row.ours for row in rows if row.metric == "found"] == [5, 5, 5]
    errors = {row.case: row for row in rows if row.metric == "error"}
    word = next(row for case, row in errors.items() if case.startswith("all, 1 word"))
    assert word.baseline == pytest.approx(2 / 3)
    assert word.ours < 0.2
    assert any(case.startswith("zh, a message of at most 10 characters") for case in errors)


@pytest.mark.long
def test_experts_of_each_language_learn_from_as_many_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogues = {"ru": made_up("ru", 900), "zh": made_up("zh", 600)}
    monkeypatch.setattr(bench, "messages", lambda _: catalogues)
    rows = list(Languages(tuple(catalogues), expert_tokens=2048, parts=("bits",)).rows())
    found = {(row.case, row.metric): row for row in rows}
    for language, width in (("ru", 1.8), ("zh", 3.0)):
        case = f"{language}: an expert of 2 × 128"
        bits = found[f"{case}, beside xz", "bits per byte"]
        assert 0 < bits.baseline < bits.ours < 8
        interval = found[f"{case}, interval over documents", "bits per byte, low and high"]
        assert interval.ours < bits.ours < interval.baseline
        characters = found[f"{case}, beside bytes a character", "bits per character"]
        assert characters.baseline == pytest.approx(width, abs=0.2)
        assert characters.ours == pytest.approx(bits.ours * characters.baseline)
    sizes = [re.search(r"learn from ([\d,]+) bytes", line) for line in capsys.readouterr().err.splitlines()]
    assert any(sizes)


def test_a_message_is_on_one_side_in_all_languages() -> None:
    both = {name: {f"message {n}": f"{name} {n}" for n in range(100)} for name in ("en", "fr")}
    train, test = split(both)
    assert {text.split()[1] for text in train["en"]} == {text.split()[1] for text in train["fr"]}
    assert len(train["en"]) + len(test["en"]) == 100
    assert 20 < len(test["en"]) < 50


def test_what_is_not_translated_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_catalogues, "PACKAGES", ("no_such_package_is_here",))
    assert messages(["en", "fr"]) == {"en": {}, "fr": {}}
    assert _catalogues._plain("menu\4Hello %(name)s, <b>you</b> have {count} &amp; more") == "Hello , you have more"


def test_pieces_of_lengths_that_texts_do_not_have_are_left_out() -> None:
    assert set(pieces_of({"en": ["a short one"]}, 5)) == {"1 word", "2 words", "a message of 11 to 20 characters"}
    assert near_duplicates_found(["the cat", "a dog"], 0) == 0
