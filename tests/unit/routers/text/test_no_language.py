from __future__ import annotations

import numpy as np
import pytest

from orchestrator.routers.text import shipped
from orchestrator.routers.text.calibration import KNOTS, SIGNALS, fit_rejection, hats
from orchestrator.routers.text.ngrams import ngram_hashes
from orchestrator.routers.text.no_language import cut_kind, fragments, to_learn, to_test
from orchestrator.routers.text.pieces import Lengths
from orchestrator.routers.text.shipped import conversations, learned, matched
from orchestrator.routers.text.vocabulary import Vocabulary
from orchestrator.routers.text.words import Words


def test_configured_languages_are_left_out() -> None:
    own = ("phrases/es", "phrases/en", "code/js")
    found = to_learn(own, 300, np.random.default_rng(0))
    assert not set(own) & set(found)
    assert {"phrases/it", "code/sql", "code/py", "generated/noise"} <= set(found)
    assert all(text.strip() for texts in found.values() for text in texts)
    assert found == to_learn(own, 300, np.random.default_rng(0))


def test_conversation_is_split() -> None:
    train, held_out = conversations({"any": ["phrases/fr"]})["any"]
    assert sorted((*train, *held_out)) == sorted(learned()["phrases/fr"])
    assert len(train) > 3 * len(held_out) > 0
    assert conversations({"xx": ["phrases/xx"]}) == {"xx": ((), ())}


def test_text_that_two_languages_claim_is_given_to_neither() -> None:
    own = {"pt-br": ("phrases/pt",), "pt-pt": ("phrases/pt",), "es": ("phrases/es",)}
    talks = conversations(own)
    assert talks["pt-br"] == talks["pt-pt"] == ((), ())
    assert talks["es"].learned
    assert matched(own)["pt-br"] == {"kinds": ["phrases/pt"], "learned": 0, "with": ["pt-pt"]}


def test_text_to_test_with_is_seen_or_unseen_and_of_no_language() -> None:
    languages = [kind for kind in shipped.tested() if kind.startswith("phrases/")]
    unseen, seen = (
        next(kind.split("/") for kind in languages if (kind in learned()) == known) for known in (False, True)
    )
    found = to_test((), 60, np.random.default_rng(0))
    assert {f"unseen/{unseen[1]}", f"seen/{seen[1]}", "unseen/.cmake", "generated/sql"} <= set(found)
    assert not {f"seen/{unseen[1]}", f"unseen/{seen[1]}", "seen/.cmake"} & set(found)
    assert all(len(set(some)) == len(some) <= 60 for some in found.values())
    own = ("code/cmake", "/".join(unseen), "/".join(seen))
    gone = {"unseen/.cmake", f"unseen/{unseen[1]}", f"seen/{seen[1]}"}
    assert set(found) - set(to_test(own, 60, np.random.default_rng(0))) == gone


def test_fragments_share_out_the_kinds() -> None:
    kinds = {"phrases/a": ["some words of a kind"], "generated/b": ["1 2 3"], "generated/c": ["😀"]}
    found = fragments(kinds, 60, np.random.default_rng(0))
    words = {"phrases/a": 5, "generated/b": 0, "generated/c": 0}
    assert {kind: len(some) - words[kind] for kind, some in found.items()} == dict.fromkeys(kinds, 60)
    assert set(found["phrases/a"]) >= {"some", "words", "of", "a", "kind"}
    assert "1 2 3" in found["generated/b"]
    assert "words" in found["phrases/a"]


@pytest.mark.parametrize("kind", ["code/js", "seen/.js"])
def test_a_word_of_code_without_a_sign_of_it_is_no_code(kind: str) -> None:
    found = cut_kind(kind, ["return value || other;"], Lengths({1: 50}, {}), np.random.default_rng(0))
    assert set(found["1 word"]) == {"other;"}


def test_vocabulary_knows_its_words() -> None:
    words = Vocabulary.of(["The cat (« sat ») on", "été \ud800"], [])
    texts = ["the CAT, sat!", "cat chien", "", " \n", "\ud800 Été", "cat " * 8 + "chien " * 20]
    assert words.known(Words.of(texts)).tolist() == [1, 0.5, 0, 0, 1, 1]


def test_vocabulary_knows_its_longest_ngrams() -> None:
    vocabulary = Vocabulary.of([], ["the cat"])
    for text, unseen in (("the cat", 0), ("the car", 5)):
        hashes = ngram_hashes([text])
        assert vocabulary.unseen(hashes[-1]).sum() == unseen


def test_rejection_of_a_language_without_examples_is_that_of_all() -> None:
    rng = np.random.default_rng(0)
    no_language = rng.random(4000) < 0.3
    found = rng.normal(size=(4000, SIGNALS)) + 2 * no_language[:, None]
    best = rng.integers(2, size=4000)
    lengths = rng.integers(1, 300, 4000)
    fitted = fit_rejection(found, no_language, lengths, best, np.ones(4000), 3)
    assert fitted.shape == (3, len(KNOTS), SIGNALS + 1)
    parameters = hats(lengths) @ fitted[2].astype(np.float64)
    logits = (found * parameters[:, :SIGNALS]).sum(axis=1) + parameters[:, SIGNALS]
    assert np.mean((logits > 0) == no_language) > 0.95
