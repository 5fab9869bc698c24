"""The paper's router equals scikit-learn's predict_proba, from files and without scikit-learn."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier

from orchestrator.errors import CorpusError, PluginError
from orchestrator.plugins import create
from orchestrator.routers import load_router, save_routers
from orchestrator.routers._tfidf import fit
from orchestrator.routers.paper import Paper

CLASSIFIERS = ("logistic_regression", "sgd", "random_forest")
VOCABULARY = 300


def sequences(languages: int, count: int, seed: int, length: int = 40) -> dict[str, list[np.ndarray]]:
    """Overlapping languages, so that probabilities are not all 0 or 1."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(VOCABULARY, 0.7), size=languages)
    shares = 0.7 * shares + 0.3 * shares.mean(axis=0)
    names = [f"l{i}" for i in range(languages)]
    return {n: [rng.choice(VOCABULARY, length, p=p) for _ in range(count)] for n, p in zip(names, shares, strict=True)}


def flat(data: dict[str, list[np.ndarray]]) -> tuple[list[np.ndarray], np.ndarray]:
    rows = [row for language in data.values() for row in language]
    return rows, np.repeat(np.arange(len(data)), [len(v) for v in data.values()])


def sklearn_probabilities(name: str, train: dict[str, list[np.ndarray]], test: list[np.ndarray]) -> np.ndarray:
    models = {
        "logistic_regression": LogisticRegression(max_iter=1000, random_state=3),
        "sgd": SGDClassifier(loss="log_loss", random_state=3),
        "random_forest": RandomForestClassifier(random_state=3),
    }
    vectorizer = TfidfVectorizer()
    rows, labels = flat(train)
    words = [[" ".join(map(str, row)) for row in some] for some in (rows, test)]
    model = models[name].fit(vectorizer.fit_transform(words[0]), labels)
    return model.predict_proba(vectorizer.transform(words[1]))


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("languages", [2, 3, 4])
def test_probabilities_equal_scikit_learn(tmp_path: Path, name: str, languages: int) -> None:
    train = sequences(languages, 40, seed=1)
    test, _ = flat(sequences(languages, 50, seed=1, length=12))
    expected = sklearn_probabilities(name, train, test)
    routers = Paper().train(train, seed=3, threads=1)
    assert_allclose(routers[name].probabilities(test), expected, atol=1e-9, rtol=0)
    save_routers(tmp_path, "paper", routers, "sgd")
    assert_allclose(load_router(tmp_path, name).probabilities(test), expected, atol=1e-9, rtol=0)
    assert expected.max(axis=1).min() < 0.9, "the comparison would be trivial"


def test_ids_below_ten_are_no_features() -> None:
    """scikit-learn's default token pattern drops one-character words (method.md, row 13)."""
    features, _ = fit([np.array([1, 5, 9, 10, 11]), np.array([2, 10, 250])])
    assert sorted(features.tokens.tolist()) == [10, 11, 250]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_nothing_known_gives_the_prior(name: str) -> None:
    train = sequences(3, 20, seed=1)
    train["l2"] = train["l2"][:10]
    router = Paper().train(train, seed=3, threads=1)[name]
    unknown = [[], [1, 2, 9], [VOCABULARY + 7, 10**12, -4], np.array([])]
    assert_allclose(router.probabilities(unknown), np.tile([0.4, 0.4, 0.2], (4, 1)))
    assert router.choose(unknown) == ["l0"] * 4
    assert router.probabilities([]).shape == (0, 3)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_language_is_always_right(name: str) -> None:
    router = Paper().train(sequences(1, 12, seed=1), seed=3, threads=1)[name]
    assert_allclose(router.probabilities([[10, 11], []]), np.ones((2, 1)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(-(2**40), 2**40) | st.integers(0, VOCABULARY), max_size=20), max_size=80))
def test_any_ids_give_probabilities_of_each_alone(batch: list[list[int]]) -> None:
    for router in ROUTERS.values():
        result = router.probabilities(batch)
        assert result.shape == (len(batch), 3)
        assert_allclose(result.sum(axis=1), 1)
        alone = [router.probabilities([sequence])[0] for sequence in batch]
        assert_allclose(result, np.array(alone).reshape(-1, 3), atol=1e-12)


def test_a_large_batch_is_classified_in_chunks() -> None:
    rows = np.arange(10, 1010).reshape(200, 5) % VOCABULARY
    for router in ROUTERS.values():
        assert_allclose(router.probabilities(rows)[150:], router.probabilities(rows[150:]), atol=1e-12)


def test_training_is_deterministic_in_any_number_of_threads() -> None:
    rows, _ = flat(sequences(3, 5, seed=8))
    for name, router in Paper().train(sequences(3, 20, seed=1), seed=3, threads=2).items():
        assert np.array_equal(router.probabilities(rows), ROUTERS[name].probabilities(rows))


def test_a_language_without_text_is_refused() -> None:
    with pytest.raises(CorpusError, match="'l1'"):
        Paper().train({"l0": [np.arange(50)], "l1": []}, seed=0, threads=1)
    with pytest.raises(CorpusError, match="nothing to learn"):
        Paper().train({"l0": [np.arange(9)], "l1": [np.arange(3)]}, seed=0, threads=1)


def test_options_are_checked() -> None:
    assert create("routers", "paper", {"classifier": "sgd", "sequence_tokens": 64}) == Paper("sgd", 64)
    for wrong in ({"classifier": "svm"}, {"sequence_tokens": 0}, {"clasifier": "sgd"}):
        with pytest.raises(PluginError):
            create("routers", "paper", wrong)


def test_running_needs_no_scikit_learn(tmp_path: Path) -> None:
    save_routers(tmp_path, "paper", ROUTERS, "random_forest")
    code = (
        "import sys; from pathlib import Path; from orchestrator.routers import load_router;"
        f"print(load_router(Path({str(tmp_path)!r})).choose([[10, 11, 12]]));"
        "assert not {'sklearn', 'scipy', 'torch', 'pickle5'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_sequence_takes_under_a_millisecond(name: str) -> None:
    sequence = np.random.default_rng(0).integers(0, VOCABULARY, 1024)
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        ROUTERS[name].probabilities([sequence])
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1e-3


ROUTERS = Paper().train(sequences(3, 20, seed=1), seed=3, threads=1)
