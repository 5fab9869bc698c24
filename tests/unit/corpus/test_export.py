from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.config.recipe import CorpusConfig
from orchestrator.corpus.build import build_corpus
from orchestrator.corpus.document import Document
from orchestrator.corpus.export import export_paper_json, export_parquet
from orchestrator.corpus.sources.paper_json import PaperJson
from orchestrator.corpus.splits import SPLITS
from orchestrator.corpus.storage import read_documents
from orchestrator.errors import ArtifactError

LANGUAGES = ("fr", "de", "py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    config = {
        "languages": {
            "fr": {"source": "miniwiki"},
            "de": {"source": "miniwiki"},
            "py": {"source": {"type": "python_env", "max_files": 40}, "kind": "code"},
        },
        "max_documents": 40,
    }
    build_corpus(CorpusConfig.model_validate(config), 3, folder, folder / "work", map, lambda row: None)
    return folder


def by_id(documents: list[Document]) -> list[Document]:
    return sorted(documents, key=lambda d: d.id)


def test_paper_json_round_trip(corpus: Path, tmp_path: Path) -> None:
    assert export_paper_json(corpus, tmp_path) == [tmp_path / f"{split}.json" for split in SPLITS]
    for split in SPLITS:
        for language in LANGUAGES:
            original = list(read_documents(corpus, split, language))
            copied = list(PaperJson(path=str(tmp_path / f"{split}.json")).documents(language))
            assert by_id(copied) == by_id(original)


def test_paper_json_puts_equal_articles_together(corpus: Path, tmp_path: Path) -> None:
    export_paper_json(corpus, tmp_path)
    entries = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    assert {tuple(entry) for entry in entries} == {("fr", "de"), ("py",)}
    assert all(entry["fr"]["id"] == entry["de"]["id"] for entry in entries if "fr" in entry)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{split}.json" for split in SPLITS)


def test_parquet_round_trip(corpus: Path, tmp_path: Path) -> None:
    for split, file in zip(SPLITS, export_parquet(corpus, tmp_path), strict=True):
        rows = pq.read_table(file).to_pylist()
        for language in LANGUAGES:
            of_language = [
                Document(**{k: v for k, v in r.items() if k != "language"}) for r in rows if r["language"] == language
            ]
            assert of_language == list(read_documents(corpus, split, language))


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        export_paper_json(tmp_path, tmp_path / "out")
    with pytest.raises(ArtifactError):
        export_parquet(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("export", [export_paper_json, export_parquet])
def test_only_the_chosen_documents_leave(corpus: Path, tmp_path: Path, export) -> None:
    export(corpus, tmp_path, lambda split, language: np.array([4, 1] if split == "train" and language == "fr" else []))
    if export is export_parquet:
        exported = [row["id"] for row in pq.read_table(tmp_path / "train.parquet").to_pylist()]
    else:
        exported = [entry["fr"]["id"] for entry in json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))]
    train = [document.id for document in read_documents(corpus, "train", "fr")]
    assert exported == [train[1], train[4]]
