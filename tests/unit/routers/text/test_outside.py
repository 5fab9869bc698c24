from __future__ import annotations

import struct
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from orchestrator.routers.text import found as found_module
from orchestrator.routers.text.calibration import KNOTS, SIGNALS, fit_rejection, hats
from orchestrator.routers.text.found import catalogues, files, unlearned
from orchestrator.routers.text.ngrams import ngram_hashes
from orchestrator.routers.text.outside import cut_outside, fragments, outside
from orchestrator.routers.text.pieces import Lengths
from orchestrator.routers.text.shipped import code, conversation, phrases
from orchestrator.routers.text.vocabulary import Vocabulary
from orchestrator.routers.text.words import Words

UNSEEN = ("sk", "lt", "ga", "gl", "nb", "bg", "fa", "af", "eo", "cy", "eu", "is", "hr", "th")
UNSEEN_CODE = ("f90", "f", "for", "cmake", "proto", "cuh", "pyf")
ROOT = Path(__file__).parents[4]


def catalogue(messages: dict[str, str]) -> bytes:
    """A compiled message catalogue, as gettext has them."""
    pairs = [
        (key.encode(), value.encode())
        for key, value in sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **messages}.items())
    ]
    begin = 28 + 16 * len(pairs)
    tables, data = ([], []), b""
    for side in (0, 1):
        for pair in pairs:
            tables[side].append(struct.pack("<II", len(pair[side]), begin + len(data)))
            data += pair[side] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + b"".join(tables[0]) + b"".join(tables[1]) + data


@pytest.fixture
def locales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(found_module, "_LOCALES", tmp_path)
    catalogues.cache_clear()
    yield tmp_path
    catalogues.cache_clear()


def install(locales: Path, language: str, messages: dict[str, str]) -> None:
    folder = locales / language / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "program.mo").write_bytes(catalogue(messages))


def test_configured_languages_are_left_out() -> None:
    found = outside(("es", "en", "js"), 300, np.random.default_rng(0))
    assert not {"phrases/es", "phrases/en", "code/js"} & set(found)
    assert {"phrases/it", "code/sql", "generated/noise"} <= set(found)
    assert all(text.strip() for texts in found.values() for text in texts)
    assert found == outside(("es", "en", "js"), 300, np.random.default_rng(0))


def test_nothing_is_learned_from_what_is_unseen() -> None:
    assert not set(UNSEEN) & set(phrases())
    assert not set(UNSEEN_CODE) & set(code())


def test_what_is_learned_needs_no_catalogues_or_packages(locales: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = outside(("en",), 300, np.random.default_rng(0))

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    files.cache_clear()
    try:
        assert outside(("en",), 300, np.random.default_rng(0)) == before
        found = unlearned(("en",), 300, np.random.default_rng(0))
        assert {kind.partition("/")[0] for kind in found} == {"generated"}
    finally:
        files.cache_clear()


def test_texts_ship_with_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    globs = settings["tool"]["setuptools"]["package-data"]["orchestrator"]
    shipped = {path for pattern in globs for path in (ROOT / "orchestrator").glob(pattern)}
    folder = ROOT / "orchestrator" / "routers" / "text"
    assert shipped >= {*folder.glob("phrases/*"), *folder.glob("code/*")} != set()


def test_conversation_is_split() -> None:
    train, held_out = conversation("fr")
    assert sorted((*train, *held_out)) == sorted(phrases()["fr"])
    assert len(train) > 3 * len(held_out) > 0
    assert conversation("xx") == ((), ())


def test_messages_are_seen_or_unseen_and_lose_their_english(locales: Path) -> None:
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu"
    for language in ("es", "sk", "fr"):
        install(locales, language, {f"open Foo {n}": f"{words} Foo {n}%d <b>open</b> {words}" for n in range(40)})
    found = unlearned(("fr",), 100, np.random.default_rng(0))
    messages = {kind for kind in found if not kind.startswith("generated/") and "/." not in kind}
    assert messages == {"seen/es", "unseen/sk"}
    assert set(found["unseen/sk"][0].split()) == set(words.split())


def test_damaged_catalogues_are_passed_over(locales: Path) -> None:
    install(locales, "es", {})
    (locales / "es" / "LC_MESSAGES" / "other.mo").write_bytes(b"no catalogue")
    assert catalogues() == {}


def test_files_have_no_comments_and_tell_seen_from_unseen() -> None:
    found = unlearned(("py",), 100, np.random.default_rng(0))
    assert {"seen/.css", "seen/.h", "unseen/.cmake"} <= set(found)
    assert not {"unseen/.css", "seen/.cmake"} & set(found)
    assert "seen/.h" not in unlearned(("c",), 100, np.random.default_rng(0))
    assert not any("/*" in text or "//" in text for text in found["seen/.h"])


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
    found = cut_outside(kind, ["return value || other;"], Lengths({1: 50}, {}), np.random.default_rng(0))
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
    outside = rng.random(4000) < 0.3
    found = rng.normal(size=(4000, SIGNALS)) + 2 * outside[:, None]
    best = rng.integers(2, size=4000)
    lengths = rng.integers(1, 300, 4000)
    fitted = fit_rejection(found, outside, lengths, best, np.ones(4000), 3)
    assert fitted.shape == (3, len(KNOTS), SIGNALS + 1)
    parameters = hats(lengths) @ fitted[2].astype(np.float64)
    logits = (found * parameters[:, :SIGNALS]).sum(axis=1) + parameters[:, SIGNALS]
    assert np.mean((logits > 0) == outside) > 0.95
