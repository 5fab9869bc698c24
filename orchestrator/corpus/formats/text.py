"""Plain text: a file, a paragraph or a line a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.contract import WHOLE, Reading
from orchestrator.corpus.reading.files import lines_of, not_utf8, opened, read_text


@dataclass(frozen=True)
class Text:
    """Text, Markdown and source files. Any file whose suffix no other format has is read so where it is asked for."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".md", ".py")

    def rows(self, path: Path, reading: Reading, lost: Lost = refuse) -> Iterator[tuple[int, str]]:  # noqa: ARG002
        """The file, or its lines or paragraphs (between empty lines) with the number of the line they begin in.

        Raises:
            CorpusError: not readable, not in its encoding.
        """
        if reading.document == "file":
            yield WHOLE, read_text(path, reading.encoding)
            return
        paragraph: list[str] = []
        begin = 1
        for number, line in _lines(path, reading.encoding):
            if line.strip() and reading.document == "line":
                yield number, line
            elif line.strip():
                begin = begin if paragraph else number
                paragraph.append(line)
            elif paragraph:
                yield begin, "".join(paragraph)
                paragraph = []
        if paragraph:
            yield begin, "".join(paragraph)


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    offset = 0
    with opened(path, encoding=encoding) as file:
        for number, raw in enumerate(lines_of(file, path), start=1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise not_utf8(path, number, offset + error.start) from None
            offset += len(raw)
