"""A built corpus in other layouts: one Parquet file a split, or the JSON of the paper's dataset creator.

The source `paper_json` reads the latter back.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.corpus.document import Document
from orchestrator.corpus.inspect import summary
from orchestrator.corpus.splits import SPLITS
from orchestrator.corpus.storage import SCHEMA, read_tables, split_file

Chosen = Callable[[str, str], np.ndarray]
"""(split, language) -> rows of the documents to export, in any order: the balanced set's, say."""


def export_parquet(corpus: Path, out: Path, chosen: Chosen | None = None) -> list[Path]:
    """Write ``<split>.parquet`` with every language's documents and a column `language`; returns the files.

    Args:
        corpus: folder of the corpus stage.
        out: folder to write to.
        chosen: which documents; None: all.

    Raises:
        ArtifactError: `corpus` holds no readable corpus.
    """
    languages = list(summary(corpus))
    out.mkdir(parents=True, exist_ok=True)
    schema = SCHEMA.append(pa.field("language", pa.string()))
    files = [out / f"{split}.parquet" for split in SPLITS]
    for file, split in zip(files, SPLITS, strict=True):
        temporary = _beside(file)
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for language in languages:
                for table in _tables(corpus, split, language, chosen):
                    writer.write_table(
                        table.append_column("language", pa.array([language] * table.num_rows, pa.string()))
                    )
        temporary.replace(file)
    return files


def export_paper_json(corpus: Path, out: Path, chosen: Chosen | None = None) -> list[Path]:
    """Write ``<split>.json``, a list of {language: article}; articles of equal id share an entry. Returns the files.

    An article is an object with id, title, text, source and licence. Texts are read from disk as they are needed.

    Args:
        corpus: folder of the corpus stage.
        out: folder to write to.
        chosen: which documents; None: all.

    Raises:
        ArtifactError: `corpus` holds no readable corpus.
    """
    languages = list(summary(corpus))
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{split}.json" for split in SPLITS]
    for file, split in zip(files, SPLITS, strict=True):
        temporary = _beside(file)
        with temporary.open("w", encoding="utf-8") as stream:
            before = "[\n"
            for entry in _entries(corpus, split, languages, chosen):
                stream.write(before + json.dumps(entry, ensure_ascii=False))
                before = ",\n"
            stream.write("\n]\n" if before != "[\n" else "[]\n")
        temporary.replace(file)
    return files


def _entries(corpus: Path, split: str, languages: Sequence[str], chosen: Chosen | None) -> Iterator[dict[str, Any]]:
    """Every document once, those of equal id together, in the order of the first language that has the id."""
    with tempfile.TemporaryDirectory() as folder:
        others = {name: _Lookup(_tables(corpus, split, name, chosen), Path(folder) / name) for name in languages[1:]}
        for place, language in enumerate(languages):
            taken = others[language].taken if language in others else None
            for row, document in enumerate(_documents(_tables(corpus, split, language, chosen))):
                if taken is not None and taken[row]:
                    continue
                found = {name: others[name].take(document.id) for name in languages[place + 1 :]}
                yield {language: asdict(document), **{name: asdict(d) for name, d in found.items() if d is not None}}
        for lookup in others.values():
            lookup.close()


def _tables(corpus: Path, split: str, language: str, chosen: Chosen | None) -> Iterator[Any]:
    """The chosen documents of a file, by row groups, in the file's order."""
    wanted = None if chosen is None else np.sort(chosen(split, language).astype(np.int64))
    start = 0
    for table in read_tables(split_file(corpus, split, language)):
        if wanted is not None:
            low, high = np.searchsorted(wanted, (start, start + table.num_rows))
            start, table = start + table.num_rows, table.take(pa.array(wanted[low:high] - start))
        yield table


def _documents(tables: Iterator[Any]) -> Iterator[Document]:
    for table in tables:
        yield from (Document(**row) for row in table.to_pylist())


class _Lookup:
    """Documents of a file by id, each handed out once. The texts stay in a memory-mapped file."""

    def __init__(self, tables: Iterator[Any], scratch: Path) -> None:
        ids: list[str] = []
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for table in tables:
                writer.write_table(table)
                ids += table.column("id").to_pylist()
        self._map = pa.memory_map(str(scratch))
        self._table = pa.ipc.open_file(self._map).read_all()
        self._rows = {name: row for row, name in reversed(list(enumerate(ids)))}
        self.taken = np.zeros(len(ids), np.bool_)

    def take(self, name: str) -> Document | None:
        """The first document of that id, if it is there and was not taken before."""
        row = self._rows.get(name)
        if row is None or self.taken[row]:
            return None
        self.taken[row] = True
        return Document(**self._table.slice(row, 1).to_pylist()[0])

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.tmp")
