"""Tables as text: comma- and tab-separated values (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.corpus.document import Lost, refuse
from orchestrator.corpus.reading.compression import compression_of
from orchestrator.corpus.reading.contract import Reading, Row
from orchestrator.corpus.reading.files import opened
from orchestrator.errors import CorpusError

_LONGEST_CELL = 1 << 28


@dataclass(frozen=True)
class Csv:
    """A document a row. The first row names the columns; cells may be quoted and hold line ends then."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")
    version: ClassVar[int] = 2  # 1: plain text, a document a file

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between cells; null: a comma, in files that end in .tsv a tab."""
    quote: Annotated[str, Field(max_length=1)] = '"'
    """Character around cells that hold a delimiter or a line end; "": none, every quotation mark is text."""
    columns: tuple[str, ...] = ()
    """Names of the columns of files whose first row does not name them."""

    def rows(self, path: Path, reading: Reading, lost: Lost = refuse) -> Iterator[tuple[int, Row]]:
        """Rows with the number of the line they end in; `lost` is told of those with more cells than columns.

        Raises:
            CorpusError: not readable, not UTF-8, a quotation that does not end, columns of one name.
        """
        with (
            opened(path, encoding=reading.encoding) as file,
            io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text,
        ):
            yield from self._rows(text, path, lost)

    def _rows(self, text: io.TextIOWrapper, path: Path, lost: Lost) -> Iterator[tuple[int, Row]]:
        before = csv.field_size_limit(_LONGEST_CELL)  # of the whole process, where 128 KiB is the default
        reader = csv.reader(text, strict=True, **self._dialect(path))
        names: list[str] = list(self.columns)
        ended = 0  # the line at which the last row did
        try:
            for cells in reader:
                ended = reader.line_num
                if not cells:
                    continue
                if not names:
                    names = _checked(cells, path)
                elif len(cells) > len(names):
                    what = f"a row of {len(cells)} cells under {len(names)} columns"
                    where = f"{path}, line {reader.line_num}"
                    lost(CorpusError(what, where, "quote cells that hold the delimiter, or set `delimiter`"))
                else:
                    yield reader.line_num, dict(zip(names, [*cells, *[None] * (len(names) - len(cells))], strict=True))
        except csv.Error as error:
            fix = (
                "mend the quotation marks, read them as text (format: {type: csv, quote: ''}), or name what parts the "
                "cells (format: {type: csv, delimiter: ';'})"
            )
            where = f"{path}, line {ended + 1}"  # where its row begins
            raise CorpusError(f"not a table: {error}", where, fix) from None
        except UnicodeDecodeError as error:
            where = f"{path}, in line {ended + 1} or later: {error.reason}"
            fix = "say what it is in: the option `encoding` of `files`, windows-1252 for example"
            raise CorpusError("the file is not UTF-8", where, fix) from None
        finally:
            csv.field_size_limit(before)

    def _dialect(self, path: Path) -> dict[str, Any]:
        name = path.name[: -len(compression_of(path)) or None].lower()
        delimiter = self.delimiter or ("\t" if name.endswith(".tsv") else ",")
        quoting: dict[str, Any] = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE}
        return {"delimiter": delimiter, **quoting}


def _checked(names: list[str], path: Path) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        fix = "name columns apart, or give the names of all (format: {type: csv, columns: […]}) where that row is data"
        raise CorpusError(f"the first row names a column twice: {twice[0]!r}", f"{path}, line 1", fix)
    return names
