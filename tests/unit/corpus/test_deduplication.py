from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.corpus.deduplication import (
    PERMUTATIONS,
    SignatureFile,
    comparable_units,
    exact_duplicates,
    exact_key,
    near_duplicates,
    signature,
    signature_of,
    unit_hashes,
)
from orchestrator.memory import PeakMemory

WORDS = [f"w{i}" for i in range(5000)]


def shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def sample(seed: int, length: int = 400) -> list[str]:
    return list(np.random.default_rng(seed).choice(WORDS, length))


def altered(words: list[str], share: float, seed: int) -> list[str]:
    """The words with one run of them replaced, so that the similarity of shingles is easy to choose."""
    run = int(len(words) * share)
    return [*words[: len(words) - run], *sample(seed, run)]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_signatures_estimate_jaccard_similarity(share: float) -> None:
    errors = []
    for seed in range(10):
        first = sample(seed)
        second = altered(first, share, 100 + seed)
        a, b = shingles(first), shingles(second)
        errors.append((signature(first) == signature(second)).mean() - len(a & b) / len(a | b))
    assert abs(np.mean(errors)) < 0.03
    assert np.abs(errors).max() < 0.15


def test_signature_ignores_order_of_shingles_and_repeats() -> None:
    words = sample(1, 50)
    assert (signature(words * 2) == signature(words * 3)).all()


@pytest.mark.parametrize("words", [[], ["one"], ["one", "two", "three"]])
def test_short_texts_have_signatures(words: list[str]) -> None:
    assert signature(words).shape == (PERMUTATIONS,)
    assert (signature(words) == signature(["other", "words"])).mean() < 0.2


def test_keys_ignore_case_and_white_space() -> None:
    assert exact_key("Ein  Haus\n") == exact_key("ein haus")
    assert exact_key("einhaus") != exact_key("ein haus")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10)))
def test_exact_keeps_the_first_of_each(keys: list[int]) -> None:
    removed = exact_duplicates(np.array(keys, np.uint64))
    kept = [key for key, gone in zip(keys, removed, strict=True) if not gone]
    assert kept == list(dict.fromkeys(keys))


def test_near_duplicates_keep_the_first_of_each_cluster() -> None:
    first, second = sample(1), sample(2)
    texts = [sample(3), first, altered(first, 0.03, 7), second, altered(first, 0.05, 8), altered(second, 0.02, 9), []]
    removed = near_duplicates(np.array([signature(t) for t in texts]), 0.8)
    assert removed.tolist() == [False, False, True, False, True, True, False]


def test_only_those_asked_for_are_compared() -> None:
    signatures = np.array([signature(sample(1))] * 4)
    assert near_duplicates(signatures, 0.8, among=np.array([1, 3])).tolist() == [False, False, False, True]
    assert not near_duplicates(signatures, 0.8, among=np.array([], np.int64)).any()


def test_unlike_documents_stay() -> None:
    signatures = np.array([signature(altered(sample(1), 0.5, seed)) for seed in range(20)])
    assert not near_duplicates(signatures, 0.8).any()
    assert near_duplicates(signatures, 0.2).sum() == 19


def test_nearly_every_pair_above_the_threshold_is_found() -> None:
    pairs = 200
    originals = [sample(seed, 200) for seed in range(pairs)]
    copies = [altered(words, 0.03, 1000 + i) for i, words in enumerate(originals)]
    removed = near_duplicates(np.array([signature(t) for t in originals + copies]), 0.8)
    assert not removed[:pairs].any()
    assert removed[pairs:].mean() > 0.97


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=30), st.sampled_from([0.5, 0.8, 1.0]))
def test_identical_signatures_are_always_found(which: list[int], threshold: float) -> None:
    texts = {i: signature(sample(i, 60)) for i in range(6)}
    signatures = np.array([texts[i] for i in which], np.uint32).reshape(-1, PERMUTATIONS)
    removed = near_duplicates(signatures, threshold)
    assert removed.tolist() == [i in which[:place] for place, i in enumerate(which)]


LETTERS = {
    "zh": (0x4E00, 2500), "ja": (0x3041, 150), "th": (0x0E01, 46), "lo": (0x0E81, 40), "km": (0x1780, 50),
    "my": (0x1000, 60), "bo": (0x0F40, 40),
}  # fmt: skip


def sentences(language: str, seed: int, words: int = 250) -> list[str]:
    """Words of a made-up text in the letters of a script."""
    draw = np.random.default_rng([seed, 7])
    first, count = LETTERS[language]
    known = np.random.default_rng(3).integers(0, count, (400, 4))
    return ["".join(chr(first + letter) for letter in known[word]) for word in draw.integers(0, 400, words)]


@pytest.mark.parametrize("language", LETTERS)
def test_near_duplicates_without_spaces(language: str) -> None:
    originals = [sentences(language, seed) for seed in range(12)]
    copies = [[*words[:100], sentences(language, 99, 1)[0], *words[101:]] for words in originals]
    texts = [" ".join("".join(words[i : i + 25]) for i in range(0, 250, 25)) for words in originals + copies]
    removed = near_duplicates(np.array([signature(comparable_units(text)) for text in texts]), 0.8)
    assert removed.tolist() == [False] * 12 + [True] * 12


def test_units_follow_the_script() -> None:
    assert comparable_units("Ein Haus, é\n") == ["ein", "haus,", "é"]
    assert comparable_units("हिन्दी का पाठ") == ["हिन्दी", "का", "पाठ"]
    assert comparable_units("한국어 글") == ["한국어", "글"]
    assert comparable_units("我在 Berlin住,\u3000好。") == ["我", "在", "berlin", "住", ",", "好", "。"]


@pytest.mark.parametrize(
    "text", ["Ein Haus  am\u3000See. " * 40, "我在 Berlin住,好。" * 50, "x" * 500, " \n " * 100, "ΑΣ ΣΑΣ " * 60]
)
@pytest.mark.parametrize("piece", [1, 7, 64])
def test_long_texts_have_the_hashes_of_short_ones(text: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = exact_key(text), unit_hashes(text), signature(comparable_units(text))
    monkeypatch.setattr("orchestrator.corpus.deduplication._PIECE", piece)
    assert exact_key(text) == whole[0]
    assert (unit_hashes(text) == whole[1]).all()
    assert (signature_of(unit_hashes(text)) == whole[2]).all()


@pytest.mark.parametrize("language", [*LETTERS, "en"])
def test_one_character_in_two_thousand_does_not_hide_a_copy(language: str) -> None:
    words = {seed: sample(seed, 400) if language == "en" else sentences(language, seed, 600) for seed in range(40)}
    originals = [(" " if language == "en" else "").join(some)[:2000] for some in words.values()]
    copies = [f"{text[:1000]}x{text[1001:]}" for text in originals]
    removed = near_duplicates(np.array([signature_of(unit_hashes(text)) for text in originals + copies]), 0.8)
    assert removed.tolist() == [False] * 40 + [True] * 40


def test_a_file_gives_what_an_array_does_and_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    """Mapped into memory, 4,096 rows at random would take all of it: 100 MB."""
    array = np.arange(200_000, dtype=np.uint32)[:, None] + np.arange(PERMUTATIONS, dtype=np.uint32)
    array.tofile(tmp_path / "signatures.bin")
    file, rows = SignatureFile(tmp_path / "signatures.bin"), np.random.default_rng(1).integers(0, len(array), 4096)
    with PeakMemory() as before:
        pass
    with PeakMemory() as peak:
        found = file[rows]
    assert peak.own < before.own + 20e6
    assert (found == array[rows]).all()
    assert (file[150_000:170_000, 3:5] == array[150_000:170_000, 3:5]).all()
    assert (file[199_999:210_000, 0:2] == array[199_999:, 0:2]).all()
