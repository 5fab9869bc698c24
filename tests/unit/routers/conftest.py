"""A small prompt router, trained on the embedded corpus and a few files of the standard library."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.corpus.sources.python_env import PythonEnv
from orchestrator.routers import Policy, TextRouter, save_routers
from orchestrator.routers.prompt import Prompt
from orchestrator.routers.text.pieces import LanguageTexts

LANGUAGES = ("en", "fr", "de", "py")


def documents(language: str) -> list[str]:
    source = PythonEnv(max_files=24) if language == "py" else Miniwiki()
    return [document.text for document in source.documents(language)]


@pytest.fixture(scope="package")
def held_out() -> dict[str, list[str]]:
    return {language: documents(language)[::4] for language in LANGUAGES}


@pytest.fixture(scope="package")
def small_router(held_out: dict[str, list[str]]) -> TextRouter:
    texts = {
        language: LanguageTexts(
            [t for t in documents(language) if t not in held_out[language]][:40], held_out[language]
        )
        for language in LANGUAGES
    }
    plugin = Prompt(bits=16, pieces=1500, calibration_pieces=100)
    router = plugin.train(texts, [bytes([token]) for token in range(256)], seed=3, threads=1)[plugin.classifier]
    assert isinstance(router, TextRouter)
    return router


@pytest.fixture(scope="package")
def small_folder(small_router: TextRouter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("router")
    save_routers(folder, "prompt", {"prompt": small_router}, "prompt", Policy("en", 0.4))
    return folder
