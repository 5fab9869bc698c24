"""Reading local files for sources: found in a stable order, streamed, with errors that name the file and the place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import xxhash

from orchestrator.errors import CorpusError

_HASHED_BYTES = 64 << 20
"""Files that are together larger than this are told apart by size and time of change."""


def find_files(path: str, language: str, suffixes: Sequence[str] = ()) -> list[Path]:
    """The files that `path` means, sorted.

    Args:
        path: a file, a folder (searched at every depth) or a glob; ``{language}`` in it stands for the language.
        suffixes: endings of the files wanted from a folder, lower case with the dot; empty: all.

    Raises:
        CorpusError: no such file, or a folder that can't be read.
    """
    place = Path(path.replace("{language}", language)).expanduser()
    with readable(place):
        if place.is_dir():
            found = [p for p in _visible(place) if not suffixes or p.suffix.lower() in suffixes]
        elif place.is_file():
            found = [place]
        else:
            found = [Path(p) for p in glob(str(place), recursive=True) if Path(p).is_file()]  # noqa: PTH207 (absolute or not)
    if not found:
        kinds = f" with {', '.join(suffixes)}" if suffixes else ""
        raise CorpusError(f"there are no files{kinds} to read", where=str(place), fix="check the source's path")
    return sorted(found)


def files_fingerprint(paths: Sequence[Path]) -> str:
    """Identity of sorted files: their names and content, wherever they lie and whenever they were copied there.

    Of more than 64 MiB the content is not read: size and time of change stand for it.

    Raises:
        CorpusError: a file can't be read.
    """
    identity = xxhash.xxh3_128()
    with readable(paths[0].parent):
        facts = [path.stat() for path in paths]
    small = sum(fact.st_size for fact in facts) <= _HASHED_BYTES
    for name, path, fact in zip(short_names(paths), paths, facts, strict=True):
        content = xxhash.xxh3_128_hexdigest(read_bytes(path)) if small else str(fact.st_mtime_ns)
        identity.update(json.dumps([name, fact.st_size, content]).encode())
    return str(identity.hexdigest())


def short_names(paths: Sequence[Path]) -> list[str]:
    """Sorted paths from the folder that all of them share, so that nothing depends on where that folder lies."""
    root = os.path.commonpath([paths[0].parent, paths[-1].parent])  # what the first and the last share, all share
    return [path.relative_to(root).as_posix() for path in paths]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Around reading a file: what the file system refuses becomes an error that names the file.

    Raises:
        CorpusError: no permission, no file, a broken disk.
    """
    try:
        yield
    except OSError as error:
        raise CorpusError(
            f"can't be read: {error.strerror or error}",
            where=str(error.filename or path),
            fix="check that it is there and that you may read it",
        ) from None


def read_bytes(path: Path) -> bytes:
    """A whole file.

    Raises:
        CorpusError: it can't be read.
    """
    with readable(path):
        return path.read_bytes()


def read_text(path: Path) -> str:
    """A whole UTF-8 file.

    Raises:
        CorpusError: not readable, or not UTF-8, with the line and byte.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_utf8(path, line, error.start) from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of each non-empty line.

    Raises:
        CorpusError: not readable, or a line that is not UTF-8 or not a JSON object.
    """
    offset = 0
    with readable(path), path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                value = json.loads(line) if line.strip() else None
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, offset + error.start) from None
            except json.JSONDecodeError as error:
                raise _not_json(path, number, error.msg) from None
            offset += len(raw)
            if isinstance(value, dict):
                yield number, value
            elif value is not None:
                raise _not_json(path, number, f"a {type(value).__name__}, not an object")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, a batch of a row group in memory at a time.

    Args:
        columns: names to read where the file has them; None: all.

    Raises:
        CorpusError: not readable, truncated, not Parquet, or a text that is not UTF-8, with its row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = names if columns is None else [name for name in columns if name in names]
            done = 0
            for batch in file.iter_batches(batch_size=256, columns=wanted):
                yield from _batch_rows(batch, path, done)
                done += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(
            f"not readable as Parquet: {str(error).splitlines()[0]}",
            where=str(path),
            fix="copy or download the file again",
        ) from None


def field(row: dict[str, Any], name: str, where: str) -> str:
    """A text field of a row.

    Raises:
        CorpusError: it is missing or no text.
    """
    value = row.get(name)
    if not isinstance(value, str):
        known = ", ".join(map(str, row))
        problem = f"there is no field {name!r}" if name not in row else f"field {name!r} is no text"
        raise CorpusError(problem, where=where, fix=f"name the field of the text; fields here: {known}")
    return value


def _visible(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for place, inner, names in os.walk(folder, onerror=fail):
        inner[:] = [name for name in inner if not name.startswith(".")]
        files = (Path(place, name) for name in names if not name.startswith("."))
        yield from (file for file in files if file.is_file())


def _batch_rows(batch: Any, path: Path, before: int) -> list[dict[str, Any]]:
    # Parquet promises that text is UTF-8; a file whose writer did not keep to it fails only here.
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows > 1:  # one by one, to name the row
            for number in range(batch.num_rows):
                _batch_rows(batch.slice(number, 1), path, before + number)
        raise CorpusError(
            "a text is not UTF-8", where=f"{path}, row {before + 1}", fix="write the file again from UTF-8 text"
        ) from None
    return rows


def _not_utf8(path: Path, line: int, byte: int) -> CorpusError:
    return CorpusError(
        "the file is not UTF-8",
        where=f"{path}, line {line}, byte {byte}",
        fix="convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
    )


def _not_json(path: Path, line: int, problem: str) -> CorpusError:
    return CorpusError(f"not a JSON object: {problem}", where=f"{path}, line {line}", fix="one JSON object a line")
