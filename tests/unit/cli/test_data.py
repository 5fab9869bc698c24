"""`mome data` on corpora that aren't built, and its tables."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli.data import _counts_table, _read_lines, _removed_table
from orchestrator.corpus.inspect import LanguageSummary, SplitCounts

REMOVED = {"filtered": 12, "exact_duplicates": 345, "near_duplicates": 6789, "not_common": 0}


def printed(table: object) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["inspect", "export"])
def test_corpus_that_is_not_built(mome, recipe: Path, tmp_path: Path, command: str) -> None:
    arguments = [recipe] if command == "inspect" else [recipe, tmp_path / "out"]
    ended = mome("data", command, *arguments, "seed=3", "--runs", tmp_path / "runs")
    assert ended.code == 2
    assert "the corpus isn't built yet" in ended.err
    assert f'mome data build {recipe} "seed=3"' in ended.err
    assert not (tmp_path / "out").exists()


def test_unknown_layout(mome, recipe: Path, tmp_path: Path) -> None:
    ended = mome("data", "export", recipe, tmp_path / "out", "--format", "csv")
    assert ended.code == 2
    assert "parquet, json" in ended.err


def test_counts_of_a_large_corpus_fit_80_columns() -> None:
    splits = {name: SplitCounts(1_234_567, 9_876_543_210, 9_999_999_999) for name in ("train", "validation", "test")}
    tokens = {("english", name): 2_345_678_901 for name in splits}
    balanced = {("english", name): {"tokens": 1_111_111_111, "bytes_per_token": 4.321} for name in splits}
    text = printed(_counts_table({"english": LanguageSummary(splits, REMOVED, {}, {}, {"rows": 0})}, tokens, balanced))
    for figure in ("1,234,567", "9,876,543,210", "2,345,678,901", "1,111,111,111", "4.32", "valid."):
        assert figure in text
    assert "…" not in text


def test_removed_by_given_split_or_in_all() -> None:
    by_split = {"train": REMOVED, "validation": {**REMOVED, "filtered": 77}}
    given, drawn = (
        LanguageSummary({}, REMOVED, by_split, {}, {"rows": 0}),
        LanguageSummary({}, REMOVED, {}, {}, {"rows": 0}),
    )
    rows = [line.split() for line in printed(_removed_table({"en": given, "fr": drawn})).splitlines()]
    assert ["en", "train", "345", "12", "6,789", "0"] in rows
    assert ["en", "valid.", "345", "77", "6,789", "0"] in rows
    assert ["fr", "all", "345", "12", "6,789", "0"] in rows
    assert "before the splits are drawn" in printed(_removed_table({"fr": drawn}))
    assert "drawn" not in printed(_removed_table({"en": given}))


def test_what_was_left_out_is_said() -> None:
    files = {"source": {"read": {".jsonl": 1200}, "left_out": {".csv": 2, "": 1}}}
    lost = {"rows": 3, "first": "a.jsonl, row 8: field 'text' is null"}
    assert _read_lines({"es": LanguageSummary({}, REMOVED, {}, files, lost)}) == [
        "es: files read: 1,200 .jsonl, left out: 2 .csv, 1 without suffix",
        "es: 3 rows that are no documents: a.jsonl, row 8: field 'text' is null",
    ]
