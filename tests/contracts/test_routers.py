"""Laws of every router plug-in: trained from labelled sequences, stored safely, each sequence judged by itself."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from orchestrator.errors import ArtifactError
from orchestrator.plugins import available, create
from orchestrator.routers import Router, load_router, save_routers
from orchestrator.routers.text.pieces import LanguageTexts

ROOM = "routers"
NAMES = available(ROOM)
ODD = [[], [0, 1, 2], [10**9, -1], list(range(10, 400)), [11] * 5000]


def data(languages: tuple[str, ...] = ("en", "fr", "py")) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return {lang: list(rng.integers(10 + 40 * i, 70 + 40 * i, (15, 24))) for i, lang in enumerate(languages)}


WORDS = 400
"""Tokens of the vocabulary, each a word, so that routers of text can be asked with tokens."""
OPTIONS: dict[str, dict[str, Any]] = {"prompt": {"bits": 12, "pieces": 200, "calibration_pieces": 50}}


@cache
def word(token: int) -> str:
    return "".join(chr(ord("a") + int(letter)) for letter in np.random.default_rng(token).integers(0, 26, 6)) + " "


@cache
def train(name: str, *languages: str) -> tuple[Any, dict[str, Router]]:
    """The plug-in, and what it has trained: once for all tests, which change nothing of it."""
    plugin = create("routers", name, OPTIONS.get(name, {}))
    sequences = data(languages or ("en", "fr", "py"))
    if plugin.reads == "blocks":
        return plugin, plugin.train(sequences, seed=1, threads=1)
    texts = {lang: ["".join(map(word, row.tolist())) for row in rows] for lang, rows in sequences.items()}
    material = {language: LanguageTexts(documents, documents) for language, documents in texts.items()}
    return plugin, plugin.train(material, [word(token).encode() for token in range(WORDS)], seed=1, threads=1)


def test_the_chosen_one_is_trained_and_right(name: str) -> None:
    plugin, routers = train(name)
    router = routers[plugin.classifier]
    assert router.languages == ("en", "fr", "py")
    for language, sequences in data().items():
        assert router.choose(sequences) == [language] * len(sequences)


def test_rows_are_distributions_of_each_sequence_alone(name: str) -> None:
    for router in train(name)[1].values():
        result = router.probabilities(ODD)
        assert result.dtype == np.float64
        assert result.min() >= 0
        assert_allclose(result.sum(axis=1), 1)
        assert_allclose(result[::-1], router.probabilities(ODD[::-1]), atol=1e-12)
        assert_allclose(result, np.concatenate([router.probabilities([one]) for one in ODD]), atol=1e-12)


@pytest.mark.parametrize("languages", [("en",), ("en", "fr"), ("en", "fr", "de", "py")])
def test_stored_and_loaded_it_is_the_same(name: str, languages: tuple[str, ...], tmp_path: Path) -> None:
    plugin, routers = train(name, *languages)
    save_routers(tmp_path, name, routers, plugin.classifier)
    for classifier, router in routers.items():
        loaded = load_router(tmp_path, classifier)
        assert loaded.languages == languages
        assert np.array_equal(loaded.probabilities(ODD), router.probabilities(ODD))
    chosen = routers[plugin.classifier]
    assert np.array_equal(load_router(tmp_path).probabilities(ODD), chosen.probabilities(ODD))


def test_damage_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    plugin, routers = train(name)
    save_routers(tmp_path, name, routers, plugin.classifier)
    path = tmp_path / f"{plugin.classifier}.safetensors"
    whole = path.read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with pytest.raises(ArtifactError, match="damaged"):
            load_router(tmp_path)


def test_the_same_seed_gives_the_same_files(name: str, tmp_path: Path) -> None:
    for folder, trained in ((tmp_path / "a", train), (tmp_path / "b", train.__wrapped__)):
        folder.mkdir()
        plugin, routers = trained(name)
        save_routers(folder, name, routers, plugin.classifier)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_it_pickles(name: str) -> None:
    plugin, routers = train(name)
    assert pickle.loads(pickle.dumps(plugin)) == plugin
    router = routers[plugin.classifier]
    assert np.array_equal(pickle.loads(pickle.dumps(router)).probabilities(ODD), router.probabilities(ODD))
