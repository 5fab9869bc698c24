"""Rows of files that hold many documents: JSON lines, JSON lists and Parquet; and the fields of a row."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.sources._files import not_utf8, opened
from orchestrator.corpus.sources._kinds import HEAD, check_kind
from orchestrator.errors import CorpusError

Row = dict[str, Any]
_READ = 1 << 20  # characters of a JSON file in memory beside the current value
_SPACE = " \t\r\n"


def read_json_lines(path: Path, lost: Lost = refuse) -> Iterator[tuple[int, Row]]:
    """(line number from 1, object) of each non-empty line.

    Args:
        lost: told of lines that are JSON but no objects.

    Raises:
        CorpusError: not readable, or a line that is not UTF-8 or not JSON.
    """
    offset = 0
    with opened(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                values = [json.loads(line)] if line.strip() else []
            except UnicodeDecodeError as error:
                raise not_utf8(path, number, offset + error.start) from None
            except (ValueError, RecursionError) as error:
                raise _not_objects(f"{path}, line {number}", _problem(error), "one JSON object a line") from None
            offset += len(raw)
            yield from _objects(((number, value) for value in values), f"{path}, line", lost)


def read_json(path: Path) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of a JSON file: a list's elements, or values one after the other (JSON lines are such).

    Only the current value is in memory.

    Raises:
        CorpusError: not readable, not UTF-8, not JSON, nested too deep.
    """
    try:
        with opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as stream:
            yield from enumerate(_values(stream, str(path)), start=1)
    except UnicodeDecodeError as error:
        raise CorpusError(
            "the file is not UTF-8", where=f"{path}: {error.reason}", fix="convert it with iconv"
        ) from None


def read_objects(path: Path, lost: Lost = refuse) -> Iterator[tuple[int, Row]]:
    """As :func:`read_json`, of values that are objects.

    Args:
        lost: told of those that are none.

    Raises:
        CorpusError: see :func:`read_json`.
    """
    return _objects(read_json(path), f"{path}, value", lost)


def read_parquet(path: Path, columns: Sequence[str] | None = None, lost: Lost = refuse) -> Iterator[tuple[int, Row]]:
    """(number from 1, row) of a Parquet file, a batch of a row group in memory at a time.

    Args:
        columns: names to read where the file has them; None: all.
        lost: told of rows with text that is not UTF-8.

    Raises:
        CorpusError: not readable, truncated, not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = names if columns is None else [name for name in columns if name in names]
            done = 0
            for batch in file.iter_batches(batch_size=256, columns=wanted):
                yield from _batch_rows(batch, path, done, lost)
                done += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        _check_kind_of(path)
        raise CorpusError(
            f"not readable as Parquet: {str(error).splitlines()[0]}",
            where=str(path),
            fix="copy or download the file again",
        ) from None


def field(row: Row, name: str, where: str) -> str:
    """A text field of a row; bytes are read as UTF-8.

    Raises:
        CorpusError: it is missing, null or no text.
    """
    value = row.get(name)
    if isinstance(value, str):
        return value
    if name not in row:
        known = ", ".join(map(str, row))
        raise CorpusError(f"there is no field {name!r}", where=where, fix=f"name the field; fields here: {known}")
    problem = "is null" if value is None else f"is no text but {type(value).__name__}"
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            problem = "is bytes that are not UTF-8"
    raise CorpusError(f"field {name!r} {problem}", where=where, fix="mend or remove the row, or name another field")


def optional(row: Row, *names: str) -> str:
    """The first of some fields that holds a text or a number, as text; "" where none does."""
    for name in names:
        value = row.get(name)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        missing = value is None or value == "" or isinstance(value, bool) or (isinstance(value, float) and isnan(value))
        if not missing and isinstance(value, str | int | float):
            return str(value)
    return ""


def _objects(values: Iterable[tuple[int, Any]], place: str, lost: Lost) -> Iterator[tuple[int, Row]]:
    for number, value in values:
        if isinstance(value, dict):
            yield number, value
        else:
            problem = "null" if value is None else f"a {type(value).__name__}"
            lost(_not_objects(f"{place} {number}", f"{problem}, not an object", "one JSON object a row"))


def _values(stream: io.TextIOWrapper, where: str) -> Iterator[Any]:
    decoder, done = json.JSONDecoder(), False
    buffer = stream.read(_READ).lstrip()
    in_list = buffer.startswith("[")
    buffer = buffer[in_list:]
    while True:
        buffer = buffer.lstrip(_SPACE + "," if in_list else _SPACE)
        if in_list and buffer.startswith("]"):
            return
        try:
            value, end = decoder.raw_decode(buffer)
        except (ValueError, RecursionError) as error:
            # Either damaged or a value longer than what was read: the file's end tells.
            if isinstance(error, RecursionError) or done or _is_damaged(error, buffer):
                if done and not buffer and not in_list:
                    return
                raise _not_objects(where, _problem(error), "a list of objects, or one object a line") from None
            more = stream.read(max(_READ, len(buffer)))
            buffer, done = buffer + more, not more
            continue
        yield value
        buffer = buffer[end:]


def _is_damaged(error: ValueError, buffer: str) -> bool:
    """Whether more text would not help: the problem lies well before the end of what was read."""
    if not isinstance(error, json.JSONDecodeError):
        return True
    return not error.msg.startswith("Unterminated") and error.pos < len(buffer) - 16  # longer than any cut escape


def _batch_rows(batch: Any, path: Path, before: int, lost: Lost) -> Iterator[tuple[int, Row]]:
    # Parquet promises that text is UTF-8; a file whose writer did not keep to it fails only here.
    try:
        yield from enumerate(batch.to_pylist(), start=before + 1)
    except UnicodeDecodeError:
        if batch.num_rows > 1:  # one by one, to leave out that row alone
            for number in range(batch.num_rows):
                yield from _batch_rows(batch.slice(number, 1), path, before + number, lost)
            return
        where = f"{path}, row {before + 1}"
        lost(CorpusError("a text is not UTF-8", where=where, fix="write the file again from UTF-8 text"))


def _check_kind_of(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return
    if not head.startswith(b"PAR1"):
        check_kind(path, head)


def _problem(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _not_objects(where: str, problem: str, fix: str) -> CorpusError:
    return CorpusError(f"not JSON as expected: {problem}", where=where, fix=fix)
