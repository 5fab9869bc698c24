"""Laws that every source obeys. A new source joins by being in the room; one that needs files gets them here."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.corpus.document import Document, Source
from orchestrator.plugin_options import options_of
from orchestrator.plugins import available, create, find

ROOM, OPTIONS = "corpus.sources", {}
NAMES = (*available(ROOM), "mome_example.sources:Docstrings")
LANGUAGE = "en"


def examples(folder: Path) -> dict[str, dict[str, Any]]:
    """Options with which each source has something to read, offline."""
    wiki = [{"wikidata_id": f"Q{i}", "text": f"_START_PARAGRAPH_\nText {i}", "version_id": "1"} for i in range(5)]
    code = [
        {"code": f"x = {i}", "repo_name": "a/b", "path": f"{i}.py", "language": "Python", "license": "mit", "size": 5}
        for i in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(wiki), folder / "wiki.parquet")
    pq.write_table(pa.Table.from_pylist(code), folder / "code.parquet")
    (folder / "texts.txt").write_text("some text")
    (folder / "novel.xml").write_text("<TEI><text><body><p>Once.</p></body></text></TEI>")
    (folder / "paper.json").write_text(json.dumps([{LANGUAGE: f"text {i}"} for i in range(5)]))
    (folder / "hub").mkdir()
    (folder / "hub" / "train.jsonl").write_text("".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(5)))
    paths = {
        "wiki40b": "wiki.parquet",
        "github_code": "code.parquet",
        "files": "texts.txt",
        "tei": "novel.xml",
        "paper_json": "paper.json",
        "hub": "hub",
    }
    return {name: {"path": str(folder / file)} for name, file in paths.items()} | {"python_env": {"max_files": 30}}


@pytest.fixture
def source(name: str, tmp_path: Path) -> Source:
    made: Source = create(ROOM, name, {**examples(tmp_path), **OPTIONS}.get(name, {}))
    return made


def test_documents_are_complete_and_stable(source: Source, name: str) -> None:
    first, second = (list(islice(source.documents(LANGUAGE), 20)) for _ in range(2))
    assert first
    assert first == second
    for document in first:
        assert isinstance(document, Document)
        values = [getattr(document, f.name) for f in fields(document)]
        assert all(isinstance(value, str) for value in values)
        assert document.id
        assert document.text
        assert document.source == name
    assert len({d.id for d in first}) == len(first)


def test_fingerprint_is_stable(source: Source) -> None:
    assert source.fingerprint(LANGUAGE) == source.fingerprint(LANGUAGE) != ""


def test_a_source_travels_to_another_process(source: Source) -> None:
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert next(iter(copy.documents(LANGUAGE))) == next(iter(source.documents(LANGUAGE)))


def test_a_source_is_frozen(source: Source) -> None:
    assert is_dataclass(source)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(source, fields(source)[0].name, None)


def test_building_reads_nothing(name: str) -> None:
    options = {f.name: "nowhere" for f in fields(find("corpus.sources", name)) if f.name == "path"}
    create("corpus.sources", name, options)


def test_options_are_documented(name: str) -> None:
    assert [option.name for option in options_of(find(ROOM, name)) if not option.doc] == []
