"""Laws that every filter of the corpus obeys. A new filter joins by being in the room."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from orchestrator.corpus.filters import Filter
from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.plugins import available, create

ROOM, OPTIONS = "corpus.filters", {}
NAMES = available(ROOM)
ODD = ("", "x", "{", "…" * 80, "\n\n\n", "1 2 3 4", "\u200b" * 50, "猫" * 300, "a" * 5000)


@pytest.fixture
def made(name: str) -> Filter:
    built: Filter = create(ROOM, name, OPTIONS.get(name, {}))
    return built


def articles(language: str, count: int) -> list[str]:
    return [document.text for document in Miniwiki().documents(language)][:count]


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_a_verdict_depends_on_its_text_alone(made: Filter, language: str) -> None:
    texts = [*articles(language, 4), *ODD, *articles("fr", 2)]
    verdicts = made.judge(texts, language)
    assert len(verdicts) == len(texts)
    assert verdicts == [made.judge([text], language)[0] for text in texts]
    assert made.judge([], language) == []


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_good_prose_stays_as_it_is(made: Filter, language: str) -> None:
    for text, verdict in zip(texts := articles(language, 30), made.judge(texts, language), strict=True):
        assert (verdict.text, verdict.rule) == (text, "")


@pytest.mark.parametrize("language", ["en", "zh", "th", "ar"])
def test_what_has_passed_passes_again(made: Filter, language: str) -> None:
    passed = [verdict.text for verdict in made.judge([*ODD, *articles("en", 3)], language) if not verdict.rule]
    again: list[Any] = made.judge(passed, language)
    assert [(verdict.text, verdict.rule, dict(verdict.edits)) for verdict in again] == [(t, "", {}) for t in passed]


def test_a_filter_travels_and_has_an_identity(made: Filter) -> None:
    copy = pickle.loads(pickle.dumps(made))
    assert copy == made
    assert made.languages == ()
    assert copy.check("en") == made.check("en")
