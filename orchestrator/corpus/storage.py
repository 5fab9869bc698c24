"""Documents on disk: one Parquet file a split and language, written and read by row groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.corpus.document import Document
from orchestrator.errors import ArtifactError

COLUMNS = ("id", "title", "text", "source", "licence", "work")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
_ROW_GROUP_BYTES = 4 << 20


def to_table(documents: Sequence[Document]) -> Any:
    """An Arrow table of documents."""
    return pa.table({name: [getattr(d, name) for d in documents] for name in COLUMNS}, schema=SCHEMA)


class TableWriter:
    """Writes tables of documents to a Parquet file (zstd) in row groups of about 4 MiB, the later unit of work."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._waiting: list[Any] = []
        self._bytes = 0

    def write(self, table: Any) -> None:
        """Add a table; it may wait for others to fill a row group."""
        if not table.num_rows:
            return
        self._waiting.append(table)
        self._bytes += table.nbytes
        if self._bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._file.write_table(table, row_group_size=table.num_rows)
        self._waiting, self._bytes = [], 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._file.close()


def read_tables(path: Path, columns: Sequence[str] = COLUMNS) -> Iterator[Any]:
    """The row groups of a file of documents, as Arrow tables.

    Raises:
        ArtifactError: missing or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(
            f"not readable as Parquet: {reason}", where=str(path), fix="build the corpus again"
        ) from None


def split_file(corpus: Path, split: str, language: str) -> Path:
    """Where a built corpus keeps the documents of a split and language."""
    return corpus / split / f"{language}.parquet"


def read_documents(corpus: Path, split: str, language: str) -> Iterator[Document]:
    """The documents of a split and language of a built corpus, a row group in memory at a time.

    Raises:
        ArtifactError: missing or damaged.
    """
    for table in read_tables(split_file(corpus, split, language)):
        yield from (Document(**row) for row in table.to_pylist())


def read_texts(corpus: Path, split: str, language: str) -> Iterator[str]:
    """The texts alone, in corpus order.

    Raises:
        ArtifactError: missing or damaged.
    """
    for table in read_tables(split_file(corpus, split, language), ("text",)):
        yield from table.column("text").to_pylist()


def batches(documents: Iterable[Document], characters: int, count: int) -> Iterator[list[Document]]:
    """Consecutive documents in lists of at most `count`, closed once they hold `characters`."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= characters or len(batch) >= count:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
