from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.recipe import SplitConfig
from orchestrator.corpus.document import Document
from orchestrator.corpus.splits import SPLITS, assign, common_to_all, work_hash
from orchestrator.errors import CorpusError

TRAIN, VALIDATION, TEST = range(3)


def works(ids: list[str], seed: int = 0, parts_of: list[str] | None = None) -> np.ndarray:
    documents = [
        Document(name, "", "", "", "", work) for name, work in zip(ids, parts_of or [""] * len(ids), strict=True)
    ]
    return np.array([work_hash(document, seed) for document in documents], np.uint64)


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_proportions_are_exact(seed: int) -> None:
    codes = assign({"en": works(ids("a", 120), seed)}, SplitConfig())["en"]
    assert np.bincount(codes).tolist() == [108, 6, 6]


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 300), st.floats(0.001, 0.4), st.floats(0.001, 0.4), st.integers(0, 1000))
def test_no_split_is_empty(count: int, validation: float, test: float, seed: int) -> None:
    shares = SplitConfig(validation=validation, test=test)
    sizes = np.bincount(assign({"en": works(ids("a", count), seed)}, shares)["en"], minlength=3)
    rounded = [max(1, round(count * share)) for share in (validation, test)]
    if sum(rounded) < count:
        assert [sizes[VALIDATION], sizes[TEST]] == rounded
    assert sizes.sum() == count
    assert sizes.min() > 0


@pytest.mark.parametrize(("count", "expected"), [(3, [1, 1, 1]), (4, [1, 1, 2]), (5, [1, 2, 2])])
def test_shares_that_were_both_rounded_up_leave_train_a_document(count: int, expected: list[int]) -> None:
    codes = assign({"en": works(ids("a", count), 0)}, SplitConfig(validation=0.375, test=0.375))["en"]
    assert np.bincount(codes).tolist() == expected


def test_an_article_lands_in_the_same_split_in_every_language() -> None:
    english, german = ids("q", 300), ids("q", 400)[100:]
    code = ids("file", 40)
    codes = assign(
        {"en": works(english), "py": works(code), "de": works(german)}, SplitConfig(validation=0.1, test=0.1)
    )
    of_english = dict(zip(english, codes["en"], strict=True))
    of_german = dict(zip(german, codes["de"], strict=True))
    shared = of_english.keys() & of_german.keys()
    assert len(shared) == 200
    assert all(of_english[name] == of_german[name] for name in shared)
    assert np.bincount(codes["py"]).tolist() == [32, 4, 4]


def test_parts_of_a_work_stay_together() -> None:
    chapters = [f"novel{i}#{j}" for i in range(20) for j in range(5)]
    novels = [name.partition("#")[0] for name in chapters]
    codes = assign({"en": works(chapters, parts_of=novels)}, SplitConfig())["en"]
    assert all(len(set(codes[i : i + 5])) == 1 for i in range(0, 100, 5))
    assert np.bincount(codes).tolist() == [90, 5, 5]


def test_the_seed_decides() -> None:
    draws = [assign({"en": works(ids("a", 60), seed)}, SplitConfig())["en"].tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_an_id_says_nothing_of_works() -> None:
    codes = assign({"en": works([f"#{i}" for i in range(60)])}, SplitConfig())["en"]
    assert np.bincount(codes).tolist() == [54, 3, 3]


@pytest.mark.parametrize("parts_of", [["", ""], ["one", "one", "one"], []])
def test_too_few_works(parts_of: list[str]) -> None:
    with pytest.raises(CorpusError, match="too little text to split") as error:
        assign({"fr": works(ids("a", len(parts_of)), parts_of=parts_of)}, SplitConfig())
    assert error.value.where == "corpus.languages.fr"
    assert SPLITS[0] in error.value.what
    assert ("3 documents of 1 work " in error.value.what) == (parts_of == ["one"] * 3)


def test_common_ids() -> None:
    arrays = [np.array(a, np.uint64) for a in ([3, 1, 2, 2], [2, 3, 9], [9, 3, 2])]
    assert common_to_all(arrays).tolist() == [2, 3]
    assert common_to_all([]).tolist() == []
