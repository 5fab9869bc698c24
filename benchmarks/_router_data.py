"""Text for the router's bench: two corpora with held-out works, and Python of packages that nothing was trained on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks._router_peers import PROSE
from benchmarks._rows import notice
from orchestrator.corpus.sources.files import Files
from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.corpus.sources.python_env import PythonEnv
from orchestrator.routers.text.pieces import LanguageTexts

_HELD_OUT = 6
"""Every sixth document of a corpus without splits is for testing, the one after it for calibration."""
_PLACES = {"test": {0}, "validation": {1}, "train": {2, 3, 4, 5}, "unread": {0, 2, 3, 4, 5}}
_UNTRAINED = ("pydantic", "typer", "rich", "Jinja2", "fsspec", "huggingface_hub")
"""Packages whose Python is for testing; training reads the standard library."""


def corpora() -> tuple[str, ...]:
    """Names of the corpora that are here: the embedded one, and eltec where the variable ELTEC names its folder."""
    if _eltec().is_dir():
        return ("eltec", "miniwiki")
    notice(f"no eltec at {_eltec()} (set ELTEC to its folder): the embedded corpus alone")
    return ("miniwiki",)


def training(corpus: str, characters: int) -> dict[str, LanguageTexts]:
    """Documents of PROSE to train and calibrate on, at most `characters` of each, and the standard library."""
    texts = {
        language: LanguageTexts(_texts(corpus, language, "train"), _texts(corpus, language, "validation"))
        for language in PROSE
    }
    texts["py"] = _python()
    rng = np.random.default_rng(0)
    return {name: replace(some, train=_at_most(some.train, characters, rng)) for name, some in texts.items()}


def testing(corpus: str, trained_on: str) -> dict[str, list[str]]:
    """Test documents of PROSE: the test split; of the small corpus all but validation, where nothing was trained on it.

    Validation documents of both corpora are what the router was developed with.
    """
    whole = corpus == "miniwiki" and trained_on != corpus
    return {language: _texts(corpus, language, "unread" if whole else "test") for language in PROSE}


def untrained_python() -> list[str]:
    """Python files of installed packages that training does not read."""
    return [document.text for document in PythonEnv(stdlib=False, packages=_UNTRAINED).documents("py")]


def _eltec() -> Path:
    return Path(os.environ.get("ELTEC", "data/eltec"))


@cache
def _texts(corpus: str, language: str, split: str) -> list[str]:
    if corpus == "eltec":
        path = str(_eltec() / f"{language}-{split}.parquet")
        return [document.text for document in Files(path=path).documents(language)]
    return _split([document.text for document in Miniwiki().documents(language)], split)


def _python() -> LanguageTexts:
    texts = [document.text for document in PythonEnv().documents("py")]
    return LanguageTexts(_split(texts, "train") + _split(texts, "test"), _split(texts, "validation"), is_code=True)


def _split(texts: Sequence[str], split: str) -> list[str]:
    return [text for place, text in enumerate(texts) if place % _HELD_OUT in _PLACES[split]]


def _at_most(texts: Iterable[str], characters: int, rng: np.random.Generator) -> list[str]:
    texts = list(texts)
    kept, size = [], 0
    for place in rng.permutation(len(texts)).tolist():
        if size >= characters:
            break
        kept.append(texts[place])
        size += len(texts[place])
    return kept
