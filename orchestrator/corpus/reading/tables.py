"""Rows of Parquet and Arrow files, a part of a batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.compression import bomb, is_bomb
from orchestrator.corpus.reading.contract import Row
from orchestrator.corpus.reading.files import seekable
from orchestrator.corpus.reading.kinds import HEAD, check_kind
from orchestrator.errors import CorpusError

_ROWS, _BYTES = 256, 1 << 25
"""Rows that are Python objects at once, at most, and about their bytes (32 MiB)."""
_NO_OBJECT = (OverflowError, ValueError, KeyError)
"""What Arrow raises of a value that Python has no object for: a date after the year 9999, an unknown time zone."""


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, lost: Lost = refuse, needed: Sequence[str] = ()
) -> Iterator[tuple[int, Row]]:
    """(number from 1, row) of a Parquet file, a batch of a row group in memory at a time.

    Args:
        path: the file.
        columns: names to read where the file has them; None: all.
        lost: told of rows with text that is not UTF-8.
        needed: names of which a file has one; where it has none, all columns are read, so that errors can name them.

    Raises:
        CorpusError: not readable, truncated, encrypted, not Parquet; values of `columns` that Python has no object for.
    """
    import pyarrow.parquet as pq

    with (
        _damage_told(path, "Parquet", b"PAR1"),
        seekable(path) as stream,
        pq.ParquetFile(_source(path, stream)) as file,
    ):
        _check_size(sum(_sizes(file.metadata)), path)
        batches = file.iter_batches(
            batch_size=_rows_at_once(file.metadata), columns=_chosen(file.schema_arrow.names, columns, needed)
        )
        yield from _numbered(batches, path, lost, columns or ())


def read_arrow(
    path: Path, columns: Sequence[str] | None = None, lost: Lost = refuse, needed: Sequence[str] = ()
) -> Iterator[tuple[int, Row]]:
    """(number from 1, row) of an Arrow file (Feather is one) or stream; arguments as in :func:`read_parquet`.

    Raises:
        CorpusError: not readable, truncated, not Arrow; values of `columns` that Python has no object for.
    """
    with _damage_told(path, "Arrow", b"ARROW1"), seekable(path) as stream:
        head = stream.read(8)
        stream.seek(0)
        schema, batches = _arrow_batches(stream, is_file=head.startswith(b"ARROW1"))
        names = _chosen(schema.names, columns, needed)
        sound = (_sound(batch.select(names)) for batch in batches)
        yield from _numbered(_bounded(sound, path), path, lost, columns or ())


def _arrow_batches(stream: IO[bytes], *, is_file: bool) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    if not is_file:
        reader = pa.ipc.open_stream(stream)
        return reader.schema, iter(reader)
    file = pa.ipc.open_file(stream)
    return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


def _bounded(batches: Iterator[Any], path: Path) -> Iterator[Any]:
    """Batches, whose buffers may be compressed, as long as they are no more than the file's size allows."""
    out = 0
    for batch in batches:
        out += batch.nbytes
        _check_size(out, path)
        yield batch


def _check_size(out: int, path: Path) -> None:
    if is_bomb(out, path.stat().st_size):
        raise bomb(path, "write it again with another compression, or as JSON lines, where you trust it")


def _sizes(metadata: Any) -> Iterator[int]:
    """Bytes of each row group before its pages were compressed."""
    return (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))


def _sound(batch: Any) -> Any:
    """A batch whose offsets lie within its data: reading one of a damaged file could end the process."""
    batch.validate(full=True)
    return batch


def _chosen(names: list[str], columns: Sequence[str] | None, needed: Sequence[str]) -> list[str]:
    if columns is None or (needed and not set(needed).intersection(names)):
        return names
    return [name for name in dict.fromkeys(columns) if name in names]


def _numbered(batches: Iterator[Any], path: Path, lost: Lost, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """The rows of record batches, numbered from 1; a few are Python objects at once."""
    done = 0
    for batch in batches:
        step = max(1, min(_ROWS, _BYTES * batch.num_rows // max(1, batch.nbytes)))
        for start in range(0, batch.num_rows, step):
            yield from _batch_rows(batch.slice(start, step), path, done + start, lost, columns)
        done += batch.num_rows


def _batch_rows(batch: Any, path: Path, before: int, lost: Lost, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    # Parquet promises that text is UTF-8; a file whose writer did not keep to it fails only here.
    try:
        yield from enumerate(batch.to_pylist(), start=before + 1)
    except UnicodeDecodeError:
        if batch.num_rows > 1:  # one by one, to leave out that row alone
            for number in range(batch.num_rows):
                yield from _batch_rows(batch.slice(number, 1), path, before + number, lost, columns)
            return
        where = f"{path}, row {before + 1}"
        lost(CorpusError("a text is not UTF-8", where=where, fix="write the file again from UTF-8 text"))
    except _NO_OBJECT:
        yield from _batch_rows(_emptied(batch, path, columns), path, before, lost, columns)


def _emptied(batch: Any, path: Path, columns: Sequence[str]) -> Any:
    """A batch with nulls in place of columns that Python has no objects for, where these are not asked for by name."""
    import pyarrow as pa

    for number, name in enumerate(batch.schema.names):
        try:
            batch.column(number).to_pylist()
        except UnicodeDecodeError:
            pass  # told by its row
        except _NO_OBJECT as error:
            if name in columns:
                what = f"the column {name!r} ({batch.column(number).type}) has a value that can't be read: {error}"
                fix = "write the column again as text, or leave it out, or name other fields"
                raise CorpusError(what, where=str(path), fix=fix) from None
            batch = batch.set_column(number, name, pa.nulls(batch.num_rows))
    return batch


def _source(path: Path, stream: IO[bytes]) -> Any:
    """A plain file by its name: Arrow reads it itself, from several places at once."""
    return path if getattr(stream, "name", None) == str(path) else stream


def _rows_at_once(metadata: Any) -> int:
    """Rows of a batch that hold about _BYTES in the row group with the longest ones."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    longest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=1)
    return max(1, min(_ROWS, _BYTES // max(1, longest)))


@contextmanager
def _damage_told(path: Path, name: str, magic: bytes) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:  # the last: a length that is none
        _check_kind_of(path, magic)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        fix = "decrypt it first" if "ncrypt" in reason else "copy or download the file again"
        raise CorpusError(f"not readable as {name}: {reason}", where=str(path), fix=fix) from None


def _check_kind_of(path: Path, magic: bytes) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return
    if not head.startswith(magic):
        check_kind(path, head)
