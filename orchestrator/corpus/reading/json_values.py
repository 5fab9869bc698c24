"""Values of JSON files: objects a line, lists, and values one after the other."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.contract import Row
from orchestrator.corpus.reading.encodings import UTF8
from orchestrator.corpus.reading.files import LARGEST, lines_of, not_utf8, opened
from orchestrator.errors import CorpusError

_READ = 1 << 20  # characters of a JSON file in memory beside the current value
_SPACE = " \t\r\n"


def read_json_lines(path: Path, lost: Lost = refuse, encoding: str = UTF8) -> Iterator[tuple[int, Row]]:
    """(line number from 1, object) of each non-empty line.

    Args:
        path: the file.
        lost: told of lines that are JSON but no objects.
        encoding: what the file is written in.

    Raises:
        CorpusError: not readable, or a line that is not UTF-8 or not JSON.
    """
    offset = 0
    with opened(path, encoding=encoding) as file:
        for number, raw in enumerate(lines_of(file, path), start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                values = [json.loads(line)] if line.strip() else []
            except UnicodeDecodeError as error:
                raise not_utf8(path, number, offset + error.start) from None
            except (ValueError, RecursionError) as error:
                raise _not_objects(f"{path}, line {number}", _problem(error), "one JSON object a line") from None
            offset += len(raw)
            yield from _objects(((number, value) for value in values), f"{path}, line", lost)


def read_json(path: Path, encoding: str = UTF8) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of a JSON file: values one after the other (JSON lines are such), of a list its elements.

    Files of lists may be joined too. Only the current value is in memory.

    Raises:
        CorpusError: not readable, not UTF-8, not JSON, nested too deep.
    """
    try:
        with opened(path, encoding=encoding) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as stream:
            yield from enumerate(_values(stream, str(path)), start=1)
    except UnicodeDecodeError as error:
        raise CorpusError(
            "the file is not UTF-8", where=f"{path}: {error.reason}", fix="convert it with iconv"
        ) from None


def read_objects(path: Path, lost: Lost = refuse, encoding: str = UTF8) -> Iterator[tuple[int, Row]]:
    """As :func:`read_json`, of values that are objects.

    Args:
        path: the file.
        lost: told of those that are none.
        encoding: what the file is written in.

    Raises:
        CorpusError: see :func:`read_json`.
    """
    return _objects(read_json(path, encoding), f"{path}, value", lost)


def _objects(values: Iterable[tuple[int, Any]], place: str, lost: Lost) -> Iterator[tuple[int, Row]]:
    for number, value in values:
        if isinstance(value, dict):
            yield number, value
        else:
            problem = "null" if value is None else f"a {type(value).__name__}"
            lost(_not_objects(f"{place} {number}", f"{problem}, not an object", "one JSON object a row"))


def _values(stream: io.TextIOWrapper, where: str) -> Iterator[Any]:
    decoder, done, in_list = json.JSONDecoder(), False, False
    buffer = stream.read(_READ).lstrip()
    while True:
        buffer = buffer.lstrip(_SPACE + "," if in_list else _SPACE)
        if buffer.startswith("]" if in_list else "["):
            in_list, buffer = not in_list, buffer[1:]
            continue
        try:
            value, end = decoder.raw_decode(buffer)
        except (ValueError, RecursionError) as error:
            # Either damaged or a value longer than what was read: the file's end tells.
            if isinstance(error, RecursionError) or done or _is_damaged(error, buffer):
                if done and not buffer and not in_list:
                    return
                raise _not_objects(where, _problem(error), "a list of objects, or one object a line") from None
            if len(buffer) > LARGEST:
                raise _not_objects(where, f"a value of more than {LARGEST:,} characters", "shorter values") from None
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


def _problem(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return (
        error.msg.removesuffix(" at").removesuffix(" starting")
        if isinstance(error, json.JSONDecodeError)
        else str(error)
    )


def _not_objects(where: str, problem: str, fix: str) -> CorpusError:
    return CorpusError(f"not JSON as expected: {problem}", where=where, fix=fix)
