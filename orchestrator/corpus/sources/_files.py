"""Reading local files for sources: found in a stable order, streamed, with errors that name the file and the place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Any

import xxhash

from orchestrator.errors import CorpusError


def find_files(path: str, language: str, suffixes: Sequence[str] = ()) -> list[Path]:
    """The files that `path` means, sorted.

    Args:
        path: a file, a folder (searched at every depth) or a glob; ``{language}`` in it stands for the language.
        suffixes: endings of the files wanted from a folder, lower case with the dot; empty: all.

    Raises:
        CorpusError: no such file.
    """
    place = Path(path.replace("{language}", language)).expanduser()
    if place.is_dir():
        found = [p for p in place.rglob("*") if p.is_file() and not _hidden(p.relative_to(place))]
        found = [p for p in found if not suffixes or p.suffix.lower() in suffixes]
    elif place.is_file():
        found = [place]
    else:
        found = [p for p in map(Path, glob(str(place), recursive=True)) if p.is_file()]  # noqa: PTH207 (absolute or not)
    if not found:
        kinds = f" with {', '.join(suffixes)}" if suffixes else ""
        raise CorpusError(f"there are no files{kinds} to read", where=str(place), fix="check the source's path")
    return sorted(found)


def files_fingerprint(paths: Sequence[Path]) -> str:
    """Identity of files by name, size and time of change; their content is not read."""
    rows = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    return str(xxhash.xxh3_128_hexdigest(json.dumps(rows).encode()))


def read_text(path: Path) -> str:
    """A whole UTF-8 file.

    Raises:
        CorpusError: not UTF-8, with the line and byte.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_utf8(path, line, error.start) from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of each non-empty line.

    Raises:
        CorpusError: a line that is not UTF-8 or not a JSON object.
    """
    offset = 0
    with path.open("rb") as file:
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
        CorpusError: truncated or not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = names if columns is None else [name for name in columns if name in names]
            for batch in file.iter_batches(batch_size=256, columns=wanted):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
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


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _not_utf8(path: Path, line: int, byte: int) -> CorpusError:
    return CorpusError(
        "the file is not UTF-8",
        where=f"{path}, line {line}, byte {byte}",
        fix="convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
    )


def _not_json(path: Path, line: int, problem: str) -> CorpusError:
    return CorpusError(f"not a JSON object: {problem}", where=f"{path}, line {line}", fix="one JSON object a line")
