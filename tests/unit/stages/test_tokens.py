"""The tokens stage: every document in corpus order, the same with any number of workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.environment import Environment, serial_map
from orchestrator.errors import ArtifactError, CorpusError, ResourceError
from orchestrator.stages.tokens import TokensStage
from orchestrator.tokens import encoding
from orchestrator.tokens.encoding import EncodedCorpus
from orchestrator.tokens.tokenizer import decode, encode, load_tokenizer, save_tokenizer, train_tokenizer

LANGUAGES = ("en", "fr")
SPLITS = ("train", "validation", "test")


def texts_of(split: str, language: str) -> list[str]:
    return [f"{language} {split} </s> {number} été\n" * (number % 5) for number in range(23)]


def columns_of(split: str, language: str) -> dict[str, list[str]]:
    texts = texts_of(split, language)
    works = ["" if number % 3 else "novel" for number in range(len(texts))]
    return {"text": texts, "id": [f"#{number}" for number in range(len(texts))], "work": works}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    save_tokenizer(train_tokenizer([texts_of("train", "en")], 262), tmp_path / "tokenizer")
    for split in SPLITS:
        for language in LANGUAGES:
            path = tmp_path / "corpus" / split / f"{language}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(columns_of(split, language)), path, row_group_size=4)
    return {"corpus": tmp_path / "corpus", "tokenizer": tmp_path / "tokenizer"}


def run(inputs: dict[str, Path], out: Path, parallel_map: Any = serial_map) -> Path:
    out.mkdir(exist_ok=True)
    TokensStage(languages=LANGUAGES).run(inputs, out, Environment(work=out.parent / "work", map=parallel_map))
    return out


def threads(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    with ThreadPoolExecutor(3) as pool:
        yield from pool.map(function, items)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_documents_in_order(inputs: dict[str, Path], tmp_path: Path) -> None:
    corpus = EncodedCorpus(run(inputs, tmp_path / "out"))
    tokenizer = load_tokenizer(inputs["tokenizer"])
    for split in SPLITS:
        for language in LANGUAGES:
            texts = texts_of(split, language)
            lengths, ids = corpus.lengths(split, language), corpus.ids(split, language)
            documents = np.split(ids, np.cumsum(lengths)[:-1])
            assert [decode(tokenizer, each) for each in documents] == texts
            np.testing.assert_array_equal(ids, np.concatenate(encode(tokenizer, texts)))
            works = corpus.works(split, language)
            assert len(works) == len(texts)
            assert len(set(works)) == 1 + sum(number % 3 > 0 for number in range(len(texts)))
            assert len(set(works[::3])) == 1
    assert (corpus.languages, corpus.vocab_size, corpus.dtype) == (LANGUAGES, 262, np.uint16)
    assert not np.isin(corpus.ids("train", "en"), [0, 1, 2]).any()


def test_counts_and_progress(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = run(inputs, tmp_path / "out")
    counts = json.loads((out / "tokens.json").read_text())["splits"]["test"]["fr"]
    assert counts == {"documents": 23, "tokens": len(EncodedCorpus(out).ids("test", "fr")), "unknown": 0}
    rows = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 37))
    assert {row["steps"] for row in rows} == {36}
    total = sum(EncodedCorpus(out).lengths(split, language).sum() for split in SPLITS for language in LANGUAGES)
    assert rows[-1]["tokens"] == total


def test_same_files_with_workers_and_with_small_batches(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = files(run(inputs, tmp_path / "alone"))
    assert files(run(inputs, tmp_path / "threads", threads)) == alone
    monkeypatch.setattr(encoding, "_CHARACTERS", 1)
    assert files(run(inputs, tmp_path / "small")) == alone


def test_damaged_and_missing_corpus(inputs: dict[str, Path], tmp_path: Path) -> None:
    path = inputs["corpus"] / "test" / "fr.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArtifactError, match=r"fr\.parquet") as caught:
        run(inputs, tmp_path / "out")
    assert "--force corpus" in caught.value.fix
    path.unlink()
    with pytest.raises(ArtifactError, match=r"fr\.parquet"):
        run(inputs, tmp_path / "out")


def test_split_without_documents(inputs: dict[str, Path], tmp_path: Path) -> None:
    path = inputs["corpus"] / "validation" / "fr.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    with pytest.raises(CorpusError, match="validation split of 'fr'"):
        run(inputs, tmp_path / "out")


def test_full_disk(inputs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "out" / "train").mkdir(parents=True)
    (tmp_path / "out" / "train" / "fr.bin").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="no space left"):
        run(inputs, tmp_path / "out")
