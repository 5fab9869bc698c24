from __future__ import annotations

import pytest

from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.errors import CorpusError


def test_parallel_articles() -> None:
    articles = {language: list(Miniwiki().documents(language)) for language in ("en", "fr", "de")}
    names = {tuple(d.id for d in documents) for documents in articles.values()}
    assert len(names) == 1
    assert len(names.pop()) == 120
    assert all(d.licence == "CC0-1.0" and d.title and len(d.text) > 500 for docs in articles.values() for d in docs)


def test_language_option() -> None:
    assert list(Miniwiki(language="de").documents("german")) == list(Miniwiki().documents("de"))


def test_unknown_language() -> None:
    with pytest.raises(CorpusError, match="no language 'es'") as error:
        Miniwiki().fingerprint("es")
    assert "de, en, fr" in error.value.fix
