from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.config.recipe import CorpusConfig
from orchestrator.corpus import staging
from orchestrator.corpus.build import build_corpus, source_fingerprints
from orchestrator.corpus.inspect import summary
from orchestrator.corpus.splits import SPLITS
from orchestrator.corpus.storage import read_documents, read_texts
from orchestrator.errors import ArtifactError, CorpusError

WORDS = [f"word{i}" for i in range(2000)]


def text(seed: int, length: int = 60) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


def rows(first: int, count: int) -> list[dict[str, str]]:
    return [{"id": f"a{i}", "text": text(i)} for i in range(first, first + count)]


def source(path: Path, documents: list[dict[str, str]]) -> dict[str, str]:
    path.write_text("".join(json.dumps(row) + "\n" for row in documents))
    return {"type": "files", "path": str(path)}


def built(folder: Path, corpus: dict[str, Any], seed: int = 1, parallel: Any = map) -> Path:
    out = folder / "out"
    out.mkdir(parents=True)
    build_corpus(CorpusConfig.model_validate(corpus), seed, out, folder / "work", parallel, lambda row: None)
    assert not (folder / "work").exists()
    return out


def ids(corpus: Path, split: str, language: str) -> list[str]:
    return [d.id for d in read_documents(corpus, split, language)]


def test_miniwiki_and_counts(tmp_path: Path) -> None:
    languages = {name: {"source": "miniwiki"} for name in ("en", "fr", "de")}
    corpus = built(tmp_path, {"languages": languages, "common_articles": True})
    for split, count in zip(SPLITS, (108, 6, 6), strict=True):
        assert len({tuple(ids(corpus, split, name)) for name in languages}) == 1
        for name, about in summary(corpus).items():
            texts = list(read_texts(corpus, split, name))
            counts = about.splits[split]
            assert counts.documents == len(texts) == count
            assert counts.characters == sum(map(len, texts))
            assert counts.bytes == sum(len(t.encode()) for t in texts)
    assert set(summary(corpus)["en"].removed) == {"filtered", "exact_duplicates", "near_duplicates", "not_common"}


def test_repeats_and_short_documents_are_removed(tmp_path: Path) -> None:
    documents = rows(0, 50)
    documents[10:10] = [
        {"id": "short", "text": "too short"},
        {"id": "again", "text": text(3).upper() + "\n"},
        {"id": "nearly", "text": text(4) + " end"},
    ]
    corpus = built(tmp_path, {"languages": {"en": {"source": source(tmp_path / "a.jsonl", documents)}}})
    found = [name for split in SPLITS for name in ids(corpus, split, "en")]
    assert sorted(found) == sorted(row["id"] for row in rows(0, 50))
    assert summary(corpus)["en"].removed == {
        "filtered": 1, "exact_duplicates": 1, "near_duplicates": 1, "not_common": 0,
    }  # fmt: skip
    assert summary(corpus)["en"].removed_by_split == {}  # splits are drawn from what is left


def given_splits(folder: Path) -> dict[str, Any]:
    held_out = {"id": "copy", "text": text(101) + " end"}
    return {
        "source": source(folder / "train.jsonl", [*rows(0, 30), *rows(100, 1), held_out, *rows(200, 1), *rows(5, 1)]),
        "validation": source(folder / "validation.jsonl", [*rows(100, 5), *rows(200, 1)]),
        "test": source(folder / "test.jsonl", rows(200, 5)),
    }


def test_given_splits_are_kept_apart(tmp_path: Path) -> None:
    corpus = built(tmp_path, {"languages": {"en": given_splits(tmp_path)}})
    assert ids(corpus, "test", "en") == [f"a{i}" for i in range(200, 205)]
    assert ids(corpus, "validation", "en") == [f"a{i}" for i in range(100, 105)]
    assert ids(corpus, "train", "en") == [f"a{i}" for i in range(30)]
    kinds = ("filtered", "exact_duplicates", "near_duplicates", "not_common")
    removed = {name: tuple(counts[k] for k in kinds) for name, counts in summary(corpus)["en"].removed_by_split.items()}
    assert removed == {"train": (0, 3, 1, 0), "validation": (0, 1, 0, 0), "test": (0, 0, 0, 0)}


def test_held_out_text_never_stays_in_training(tmp_path: Path) -> None:
    rules = {"exact": False, "near": None}
    corpus = built(tmp_path, {"languages": {"en": given_splits(tmp_path)}, "deduplication": rules})
    train = ids(corpus, "train", "en")
    assert train == [*(f"a{i}" for i in range(30)), "copy", "a5"]  # repeats within training stay as asked
    assert ids(corpus, "validation", "en") == [f"a{i}" for i in range(100, 105)]


def test_common_articles(tmp_path: Path) -> None:
    languages = {
        "en": {"source": source(tmp_path / "en.jsonl", rows(0, 40))},
        "fr": {"source": source(tmp_path / "fr.jsonl", rows(20, 40))},
        "py": {"source": source(tmp_path / "py.jsonl", rows(500, 30)), "kind": "code"},
    }
    rules = {"code_filter": {"max_line_length": 10_000, "max_mean_line_length": 10_000}}
    corpus = built(tmp_path, {"languages": languages, "common_articles": True, **rules})
    found = {name: {i for split in SPLITS for i in ids(corpus, split, name)} for name in languages}
    assert found["en"] == found["fr"] == {f"a{i}" for i in range(20, 40)}
    assert len(found["py"]) == 30
    assert summary(corpus)["fr"].removed["not_common"] == 20


def test_no_common_article(tmp_path: Path) -> None:
    languages = {
        "en": {"source": source(tmp_path / "en.jsonl", rows(0, 9))},
        "fr": {"source": source(tmp_path / "fr.jsonl", rows(20, 9))},
    }
    with pytest.raises(CorpusError, match="no article id is common"):
        built(tmp_path, {"languages": languages, "common_articles": True})


def test_max_documents(tmp_path: Path) -> None:
    languages = {"en": {"source": source(tmp_path / "en.jsonl", rows(0, 40))}}
    corpus = built(tmp_path, {"languages": languages, "max_documents": 12})
    assert {i for split in SPLITS for i in ids(corpus, split, "en")} == {f"a{i}" for i in range(12)}


def test_same_output_whatever_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_BATCH_DOCUMENTS", 7)
    languages = {
        "en": {"source": source(tmp_path / "en.jsonl", rows(0, 60) + rows(10, 5))},
        "py": {"source": {"type": "python_env", "max_files": 40}, "kind": "code"},
    }
    serial = built(tmp_path / "serial", {"languages": languages})
    with ProcessPoolExecutor(2) as pool:
        parallel = built(tmp_path / "parallel", {"languages": languages}, parallel=pool.map)
    files = sorted(path.relative_to(serial) for path in serial.rglob("*") if path.is_file())
    assert len(files) == 7
    assert all((serial / file).read_bytes() == (parallel / file).read_bytes() for file in files)


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.corpus.storage._ROW_GROUP_BYTES", 2000)
    monkeypatch.setattr(staging, "_BATCH_CHARACTERS", 1000)
    languages = {"en": {"source": source(tmp_path / "en.jsonl", rows(0, 60))}}
    corpus = built(tmp_path, {"languages": languages})
    about = pq.ParquetFile(corpus / "train" / "en.parquet").metadata
    assert about.num_row_groups > 5
    assert about.row_group(0).column(0).compression == "ZSTD"
    assert len(ids(corpus, "train", "en")) == 54


def test_empty_source(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no documents") as error:
        built(tmp_path, {"languages": {"en": {"source": source(tmp_path / "en.jsonl", [])}}})
    assert error.value.where == "corpus.languages.en.source"


def test_everything_filtered(tmp_path: Path) -> None:
    languages = {"en": {**given_splits(tmp_path), "validation": source(tmp_path / "v.jsonl", [{"text": "short"}])}}
    with pytest.raises(CorpusError, match="all 1 documents were filtered out") as error:
        built(tmp_path, {"languages": languages})
    assert error.value.where == "corpus.languages.en.validation"


def test_too_little_to_split(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="too little text to split"):
        built(tmp_path, {"languages": {"en": {"source": source(tmp_path / "en.jsonl", rows(0, 2))}}})


def test_training_text_that_is_all_held_out(tmp_path: Path) -> None:
    languages = {"en": {**given_splits(tmp_path), "source": source(tmp_path / "t.jsonl", rows(200, 3))}}
    with pytest.raises(CorpusError, match="too little text to split"):
        built(tmp_path, {"languages": languages})


def test_source_fingerprints(tmp_path: Path) -> None:
    config = {"languages": {"en": given_splits(tmp_path), "fr": {"source": "miniwiki"}}}
    before = source_fingerprints(CorpusConfig.model_validate(config))
    assert set(before) == {"en.source", "en.validation", "en.test", "fr.source"}
    source(tmp_path / "test.jsonl", rows(300, 4))
    after = source_fingerprints(CorpusConfig.model_validate(config))
    assert {key for key in before if before[key] != after[key]} == {"en.test"}


def test_summary_of_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no readable corpus"):
        summary(tmp_path)
    (tmp_path / "corpus.json").write_text('{"languages": {"en": {"splits": {"train": {}}}}}')
    with pytest.raises(ArtifactError):
        summary(tmp_path)


def test_damaged_corpus_file(tmp_path: Path) -> None:
    languages = {"en": {"source": source(tmp_path / "en.jsonl", rows(0, 9))}}
    corpus = built(tmp_path, {"languages": languages})
    file = corpus / "test" / "en.parquet"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="not readable as Parquet"):
        list(read_documents(corpus, "test", "en"))
