"""The router's bench at a tiny size, on the embedded corpus, with peers made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import _router_found
from benchmarks import router as bench
from benchmarks._router_rejection import cut, vocabulary
from benchmarks.router import Routing


@pytest.mark.slow
def test_errors_calibration_rejection_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELTEC", "/nonexistent")
    monkeypatch.setattr(_router_found, "LOCALES", Path("/nonexistent"))
    monkeypatch.setattr(bench, "prose_peers", lambda: {"always en": lambda text: "en"})
    monkeypatch.setattr(bench, "code_peers", lambda: {"never": lambda texts: [False] * len(texts)})
    rows = list(Routing(pieces=60, repeats=1, training_pieces=500, characters=200_000).rows())
    errors = {row.case: row for row in rows if row.metric == "error"}
    word = next(row for case, row in errors.items() if "1 word" in case)
    assert word.baseline == pytest.approx(2 / 3)
    assert word.ours < word.baseline
    assert errors["miniwiki, lines of Python (beside never)"].baseline == 1
    metrics = {"error", "ece", "rejected", "words that a language has", "time a document", "time", "size", "skipped"}
    assert {row.metric for row in rows} == metrics
    assert all(row.ours > 0 for row in rows if row.unit == "µs")


def test_the_text_that_ships_is_named_as_a_training_set() -> None:
    said = bench._training_set()
    for part in ("texts that ship, of", "languages and", "conversation", "snippets", "CC0-1.0"):
        assert part in said


def test_pieces_that_all_peers_give_one_other_language_are_not_clear() -> None:
    labels = np.array(["en", "en", "en", "fr"])
    answers = [np.array(["en", "fr", "fr", "de"]), np.array(["fr", "fr", "de", "de"])]
    assert bench._clear(answers, labels).tolist() == [True, False, True, False]
    assert bench._clear(answers[:1], labels).all()


def test_pieces_whose_words_one_language_has_are_told_apart() -> None:
    words = [vocabulary(["Le problème de la gare,", "Programma"]), vocabulary(["the result"])]
    kinds = {"phrases/it": ["programma della gara"], "unseen/nb": ["De “result”!"]}
    found = cut(kinds, 40, words, np.random.default_rng(0))["1 word"]
    assert {text for text, own in zip(found.texts, found.own, strict=True) if own} == {"programma", "De", "“result”!"}
    pairs = cut(kinds, 40, words, np.random.default_rng(0))["2 words"]
    assert not pairs.own[pairs.kinds == "unseen/nb"].any(), "no single language has both words"
    unseen = pairs.selections()["of languages and code that are unseen"]
    assert set(pairs.kinds[unseen]) == {"unseen/nb"}
