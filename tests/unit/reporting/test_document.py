import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.reporting import formats
from orchestrator.reporting.document import Document, Listing, Section, markdown_text, render, write
from orchestrator.reporting.figures import draw
from orchestrator.reporting.tables import Cell, low_is_warm, table

NASTY = '<script>alert("1")</script> | `x` $a_b$ [l](u) "&amp;'


def nasty() -> Document:
    def paint(canvas) -> None:
        canvas.subplots().plot([0, 1], label=NASTY)
        canvas.axes[0].set_title(NASTY)
        canvas.axes[0].legend()

    blocks = (
        table(NASTY, ("a", NASTY), [[NASTY, Cell(NASTY, NASTY)]]),
        draw("f", NASTY, NASTY, paint),
        Listing(NASTY, "```\n" + NASTY),
    )
    return Document(NASTY, NASTY, ((NASTY, NASTY),), (NASTY,), (Section("s", NASTY, (NASTY,), blocks),))


def test_nothing_of_the_content_becomes_markup() -> None:
    page = render(nasty(), "report.html.j2")
    assert "<script" not in page
    assert "alert(" in page
    markdown = render(nasty(), "report.md.j2")
    fenced = markdown.index("````yaml")
    assert "<script" not in markdown[:fenced]
    assert markdown[fenced:].count("````") == 2


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_markdown_text_is_one_line_without_markup(text: str) -> None:
    shown = markdown_text(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*\[\]]", shown)
    assert "<" not in shown


def test_results_have_no_nan(tmp_path: Path) -> None:
    write(Document("t", "", (), (), ()), {"a": math.nan, "b": [math.inf, 1], "c": {1: 2.5}}, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": None, "b": [None, 1], "c": {"1": 2.5}}


def test_a_table_row_must_fit_its_columns() -> None:
    with pytest.raises(ValueError, match="2 cells under 1 columns"):
        table("t", ("a",), [["1", "2"]])


def test_heat_is_one_for_the_lowest_on_a_log_scale() -> None:
    assert low_is_warm([10, 100, 1000, None]) == [1, pytest.approx(0.5), 0, None]
    assert low_is_warm([5.0]) == [0.0]
    assert low_is_warm([None]) == [None]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.significant(1234.56), "1,235"),
        (formats.significant(0.0012345), "0.00123"),
        (formats.significant(math.inf), "–"),
        (formats.significant(9.999), "10.0"),
        (formats.perplexity(74.091), "74.09"),
        (formats.compact(490_000_000), "490 M"),
        (formats.compact(8), "8"),
        (formats.compact(999_999), "1,000 k"),
        (formats.memory(1_230_000_000), "1.23 GB"),
        (formats.memory(0), "–"),
        (formats.duration(0.44), "0.4 s"),
        (formats.duration(59.7), "1 min 0 s"),
        (formats.duration(7_500), "2 h 5 min"),
        (formats.percent(0.966), "−3.4 %"),
        (formats.listing(["a", "b", "c"]), "a, b and c"),
        (formats.listing([]), ""),
    ],
)
def test_formats(shown: str, expected: str) -> None:
    assert shown.replace(formats.GAP, " ") == expected
