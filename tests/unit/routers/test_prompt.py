from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from orchestrator.errors import CorpusError
from orchestrator.evaluation.calibration import calibration_error
from orchestrator.routers import Policy, TextRouter, load_router
from orchestrator.routers.prompt import Prompt
from orchestrator.routers.text.ngrams import LONGEST, ORDERS, PAD, clip, ngram_at, ngram_buckets
from orchestrator.routers.text.pieces import LanguageTexts, Lengths, Pieces
from orchestrator.routers.text.spans import NONE, spans
from orchestrator.routers.text.words import word_hash

BAD = {
    "empty": "",
    "white space": " \t\n\u00a0\u3000",
    "digits": "1234567890",
    "nothing visible": "\0 \u202e\n\ufeff\udfff",
    "emoji": "😀🎉👩‍👩‍👧",
    "lone surrogates": "\ud800 and \udfff",
    "NUL": "\0\0\0",
    "NUL inside": "a\0b",
    "right to left": "مرحبا كيف حالك اليوم",
    "megabyte in one line": "lorem ipsum " * 87_000,
    "megabyte without a space": "x" * 1_000_000,
    "combining": "e" + "\u0301" * 500,
    "noncharacters": "\uffff\U0010ffff",
}


def test_it_tells_the_languages_apart(small_router: TextRouter, held_out: dict[str, list[str]]) -> None:
    least = {"1 word": 0.7, "2 words": 0.8, "20 characters": 0.85, "100 characters": 0.97}
    right: dict[str, list[bool]] = {length: [] for length in least}
    for column, language in enumerate(small_router.languages):
        pieces = Pieces(held_out[language]).cut(Lengths.buckets(150), np.random.default_rng(0))
        for length in least:
            answers = small_router.route(pieces[length]).languages.argmax(axis=1)
            right[length].extend((answers == column).tolist())
    for length, share in least.items():
        assert np.mean(right[length]) >= share, length


def test_probabilities_are_roughly_what_they_say(small_router: TextRouter, held_out: dict[str, list[str]]) -> None:
    confidence, right = [], []
    for column, language in enumerate(small_router.languages):
        for texts in Pieces(held_out[language]).cut(Lengths.buckets(150), np.random.default_rng(1)).values():
            found = small_router.route(texts).languages
            confidence.append(found.max(axis=1))
            right.append(found.argmax(axis=1) == column)
    assert calibration_error(np.concatenate(confidence), np.concatenate(right)) < 0.05


def test_text_of_no_language_is_rejected_more(small_router: TextRouter, held_out: dict[str, list[str]]) -> None:
    no_language = [
        "Това е изречение на български език.",
        "SELECT a, b FROM t WHERE c = 3;",
        "ลองดูประโยคนี้",
        "4711, 0815; 42 %",
    ]
    inside = [text[:60] for language in ("en", "fr", "de") for text in held_out[language][:20]]
    assert small_router.route(no_language).rejected.min() > np.quantile(small_router.route(inside).rejected, 0.9)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello, how are you?", "en"),
        ("What is the capital of Spain?", "en"),
        ("how do I reverse a list in python", "en"),
        ("Bonjour, comment ça va ?", "fr"),
        ("Quelle est la capitale de l'Espagne ?", "fr"),
        ("Hallo, wie geht es dir?", "de"),
        ("Was ist die Hauptstadt von Spanien?", "de"),
        ('print("hi")', "py"),
        ("def f(x): return x", "py"),
    ],
)
def test_conversation_is_not_rejected(small_router: TextRouter, text: str, language: str) -> None:
    for typed in (text, text.lower()):
        found = small_router.route([typed])
        assert small_router.languages[found.languages[0].argmax()] == language
        assert found.rejected[0] < 0.5


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_has_a_defined_answer(small_router: TextRouter, kind: str) -> None:
    languages, rejected = small_router.route([BAD[kind], "and then the others said that"])
    assert np.isfinite(languages).all()
    assert_allclose(languages.sum(axis=1), 1)
    assert ((rejected >= 0) & (rejected <= 1)).all()
    assert spans(small_router, BAD[kind]) or not BAD[kind]
    assert isinstance(small_router.reasons(BAD[kind], "en"), list)
    alone = small_router.route([BAD[kind]])
    assert_allclose(alone.languages[0], languages[0], atol=1e-12)
    assert_allclose(alone.rejected[0], rejected[0], atol=1e-12)


@pytest.mark.parametrize("kind", ["empty", "white space", "nothing visible"])
def test_nothing_visible_is_rejected_with_certainty(small_router: TextRouter, kind: str) -> None:
    for texts in ([BAD[kind]], [BAD[kind], "text"]):
        found = small_router.route(texts)
        assert found.rejected[0] == 1
        assert_allclose(found.languages[0], 0.25)


def test_no_text_at_all(small_router: TextRouter) -> None:
    found = small_router.route([])
    assert (found.languages.shape, found.rejected.shape) == ((0, 4), (0,))


def test_a_hundred_thousand_documents_in_bounded_memory(small_router: TextRouter) -> None:
    import tracemalloc

    texts = ["", "a b", "the house near the river"] * 32_000 + ["x" * 3000] * 4_000  # the long ones side by side
    tracemalloc.start()
    found = small_router.route(texts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.languages.shape == (100_000, 4)
    assert peak < 100e6


def test_token_ids_are_read_as_their_bytes(small_router: TextRouter) -> None:
    text = "Où est la gare, s'il vous plaît ?"
    ids = list(text.encode())
    assert np.array_equal(small_router.probabilities([ids])[0], small_router.route([text]).languages[0])
    assert small_router.rejection([ids])[0] == small_router.route([text]).rejected[0]
    assert small_router.tokens.text([-1, 10**9, 104, 105, 0xC3]) == "hi\ufffd"


def test_it_loads_with_numpy_alone(small_folder: Path, small_router: TextRouter) -> None:
    loaded = load_router(small_folder)
    assert isinstance(loaded, TextRouter)
    assert np.array_equal(loaded.route(["bonjour"]).languages, small_router.route(["bonjour"]).languages)
    assert Policy.of(small_folder) == Policy("en", 0.4)
    script = (
        "import sys; from pathlib import Path; from orchestrator.routers import load_router;"
        f"load_router(Path({str(small_folder)!r})).route(['bonjour', 'hello']);"
        "print([name for name in ('torch', 'scipy', 'sklearn', 'ray') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_router_of_other_features_is_refused(small_router: TextRouter) -> None:
    tensors, metadata = small_router.parts()
    assert TextRouter.rebuild(tensors, metadata).languages == small_router.languages
    with pytest.raises(KeyError, match="features"):
        TextRouter.rebuild(tensors, {**metadata, "features": "1 to 9 characters"})


def test_a_whole_word_counts_whatever_its_n_grams(small_router: TextRouter) -> None:
    weights = np.zeros_like(small_router.weights)
    bits = len(weights).bit_length() - 1
    german = small_router.languages.index("de")
    weights[word_hash("haus") >> (32 - bits), german] = 8
    only_this_word = dataclasses.replace(small_router, weights=weights, bias=np.zeros_like(small_router.bias))
    for texts in (["Das „Haus“ dort"], ["Das „Haus“ dort", "Das Hausboot dort"]):
        assert only_this_word.route(texts).languages[0].argmax() == german
        assert only_this_word.route(texts).languages[0, german] > 0.5
    assert_allclose(only_this_word.route(["Das Hausboot dort"]).languages[0], 0.25)
    assert only_this_word.reasons("Das Haus", "de", 1)[0][0] == " haus "


def test_reasons_speak_for_the_language(small_router: TextRouter) -> None:
    reasons = small_router.reasons("Die Straße und das Haus", "de")
    assert all(value > 0 for _, value in reasons)
    assert [value for _, value in reasons] == sorted((value for _, value in reasons), reverse=True)
    text = " Die Straße und das Haus "
    assert all(part in text or part in text.lower() for part, _ in reasons)


def test_spans_cover_the_text_and_find_the_change(small_router: TextRouter) -> None:
    text = (
        "La ville est située au bord de la mer et elle a été construite au siècle dernier par les habitants.\n"
        "    for index, value in enumerate(self._values):\n        return self._lookup(value)[index]\n"
    )
    found = spans(small_router, text)
    assert "".join(span.text for span in found) == text
    assert all(text[span.begin : span.end] == span.text for span in found)
    assert {span.label for span in found} <= {*small_router.languages, NONE}
    assert found[0].label == "fr"
    assert found[-1].label == "py"


def test_a_language_without_text_is_refused() -> None:
    texts = {"en": LanguageTexts(["some words here"], []), "fr": LanguageTexts(["", "12"], [])}
    with pytest.raises(CorpusError, match="no training text in 'fr'"):
        Prompt(pieces=100).train(texts, [], seed=0, threads=1)


def test_ngrams_never_cross_documents() -> None:
    together, starts = ngram_buckets(["one", "", "deux"], 20)
    for row, text in enumerate(["one", "", "deux"]):
        alone, _ = ngram_buckets([text], 20)
        for order in range(ORDERS):
            assert np.array_equal(together[order][starts[row] : starts[row + 1]], alone[order])


def test_ngrams_are_told_by_their_place() -> None:
    padded = PAD + "word" + PAD
    assert ngram_at(padded, len(PAD), 4) == "word"
    assert ngram_at(padded, len(PAD) - 1, 5) == " word"


def test_long_texts_are_read_at_three_places() -> None:
    text = "a" * 5000 + "b" * 5000 + "c" * 5000
    assert len(clip(text)) == LONGEST
    assert set(clip(text)) == {"a", "b", "c"}
    assert clip("short") == "short"


def test_names_of_another_language_are_not_learned_but_words_that_both_share_are() -> None:
    own, other = Counter({"des": 100, "Paris": 1}), Counter({"des": 500, "Paris": 50})

    def learned(*others: Counter[str]) -> Counter[str]:
        sentences = ["Das Dach des Hauses in Paris"]
        return Counter(Prompt(pieces=100)._conversation(sentences, own, others, np.random.default_rng(0)))

    assert learned() - learned(other) == {"Paris": 1}
