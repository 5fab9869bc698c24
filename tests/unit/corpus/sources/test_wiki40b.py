from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.corpus.sources.wiki40b import Wiki40b
from orchestrator.errors import CorpusError, ResourceError

MARKED = (
    "\n_START_ARTICLE_\nGrüner Tee\n_START_PARAGRAPH_\nErster Absatz._NEWLINE_Zweite Zeile."
    "\n_START_SECTION_\nGeschichte\n_START_PARAGRAPH_\nEs war einmal."
)
PLAIN = "Grüner Tee\n\nErster Absatz.\nZweite Zeile.\n\nGeschichte\n\nEs war einmal."


def rows(text: str = MARKED) -> list[dict[str, str]]:
    return [
        {"wikidata_id": "Q1", "text": text, "version_id": "1"},
        {"wikidata_id": "Q2", "text": "x", "version_id": "2"},
    ]


def test_markers_become_paragraphs(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows()), tmp_path / "de.parquet")
    first, second = Wiki40b(path=str(tmp_path / "{language}.parquet")).documents("de")
    assert (first.id, first.title, first.text) == ("Q1", "Grüner Tee", PLAIN)
    assert (second.id, second.title, second.text) == ("Q2", "", "x")


@pytest.mark.parametrize("quote", ["'", '"'])
def test_printed_bytes_are_decoded(tmp_path: Path, quote: str) -> None:
    printed = "b" + quote + repr(MARKED.encode())[2:-1] + quote
    pq.write_table(pa.Table.from_pylist(rows(printed)), tmp_path / "de.parquet")
    assert next(Wiki40b(path=str(tmp_path)).documents("de")).text == PLAIN


def test_text_that_only_looks_like_printed_bytes(tmp_path: Path) -> None:
    text = r"b'\xff is no UTF-8'"
    pq.write_table(pa.Table.from_pylist(rows(text)), tmp_path / "de.parquet")
    assert next(Wiki40b(path=str(tmp_path)).documents("de")).text == text


def test_streams_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(path: str, **options: Any) -> list[dict[str, str]]:
        asked.update(options, path=path)
        return rows()

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    source = Wiki40b(split="test", revision="abc")
    assert [d.id for d in source.documents("fr")] == ["Q1", "Q2"]
    assert asked == {"path": "google/wiki40b", "name": "fr", "split": "test", "revision": "abc", "streaming": True}
    assert source.fingerprint("fr") == "google/wiki40b/fr/test@abc"


def test_unknown_language() -> None:
    with pytest.raises(CorpusError, match="no language 'py'") as error:
        next(Wiki40b().documents("py"))
    assert "zh-cn" in error.value.fix


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ResourceError) as error:
        next(Wiki40b().documents("fr"))
    assert error.value.fix == "pip install mome-orchestrator[data]"


def test_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, **options: Any) -> None:
        raise ConnectionError("couldn't reach the hub")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(ResourceError, match="couldn't reach") as error:
        next(Wiki40b().documents("fr"))
    assert "`path`" in error.value.fix


def test_null_and_bytes(tmp_path: Path) -> None:
    rows = {"wikidata_id": [b"Q1", b"Q2", None], "text": ["_START_PARAGRAPH_\nEins", None, "Drei"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    lost: list[CorpusError] = []
    assert [(d.id, d.text) for d in Wiki40b(path=str(tmp_path)).documents("de", lost.append)] == [("Q1", "Eins")]
    assert [error.what for error in lost] == ["field 'text' is null", "field 'wikidata_id' is null"]
