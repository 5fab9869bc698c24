"""One model of a table, for every table of a report; the templates turn it into HTML or Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        note: said smaller beside it, such as an interval.
        strong: the best of its group, or the matter of the table.
        heat: shade from 0 (none) to 1 (full); None: not shaded.
        code: set in a fixed-width face.
        link: page of the report that the text leads to, in HTML.
    """

    text: str
    note: str = ""
    strong: bool = False
    heat: float | None = None
    code: bool = False
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Attributes:
        columns: headings, that of the first column included.
        rows: as many cells as there are columns in each.
        words: columns of words rather than numbers, by index; these are aligned to the left (the first always is).
        note: a sentence on how to read it.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[int] = frozenset()
    note: str = ""


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell | str]],
    words: Sequence[int] = (),
    note: str = "",
) -> Table:
    """A :class:`Table` from cells or plain strings.

    Raises:
        ValueError: a row with more or fewer cells than there are columns.
    """
    cells = tuple(tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows)
    for row in cells:
        if len(row) != len(columns):
            raise ValueError(f"{caption}: a row of {len(row)} cells under {len(columns)} columns")
    return Table(caption, tuple(columns), cells, frozenset(words) | {0}, note)


def low_is_warm(values: Sequence[float | None]) -> list[float | None]:
    """Heat of positive values on a log scale: 1 for the lowest, 0 for the highest; None where there is no value."""
    logs = [math.log(v) for v in values if v is not None and v > 0]
    if not logs:
        return [None] * len(values)
    low, high = min(logs), max(logs)
    span = (high - low) or 1.0
    return [None if v is None or v <= 0 else (high - math.log(v)) / span for v in values]
