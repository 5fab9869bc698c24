"""Rows that are no documents: counted as filtered, up to a limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.cli.inspecting import _read_lines
from orchestrator.config.recipe import CorpusConfig
from orchestrator.corpus.build import build_corpus
from orchestrator.corpus.inspect import summary
from orchestrator.corpus.splits import SPLITS
from orchestrator.corpus.storage import read_documents
from orchestrator.errors import CorpusError

WORDS = [f"word{i}" for i in range(2000)]


def rows(count: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    return [{"id": f"a{i}", "text": " ".join(draw.choice(WORDS, 40))} for i in range(count)]


def built(folder: Path, file: Path, skip_bad: int = 0, **corpus: Any) -> tuple[Path, list[str]]:
    """The corpus and the lines of its log."""
    out, messages = folder / "out", []
    out.mkdir()
    config = {"languages": {"en": {"source": {"type": "files", "path": str(file), "skip_bad": skip_bad}}}, **corpus}
    log = lambda row: messages.append(row.get("message", ""))  # noqa: E731
    build_corpus(CorpusConfig.model_validate(config), 1, out, folder / "work", map, log)
    return out, messages


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


BROKEN = [{"id": "n", "text": None}, {"id": "m"}, {"id": "l", "text": ["x"]}]


def test_json_lines(tmp_path: Path) -> None:
    out, messages = built(tmp_path, write(tmp_path / "a.jsonl", [*rows(20), *BROKEN, *rows(40)[20:]]))
    about = summary(out)["en"]
    assert about.removed["filtered"] == 3
    assert about.unreadable == {"rows": 3, "first": "a.jsonl, row 21: field 'text' is null"}
    assert about.files == {"source": {"read": {".jsonl": 1}, "left_out": {}}}
    assert "read 40 documents, filtered out 3 (3 rows that are no documents: a.jsonl, row 21" in "".join(messages)


def test_parquet(tmp_path: Path) -> None:
    content = rows(40)
    content[7]["text"] = None
    pq.write_table(pa.Table.from_pylist(content), tmp_path / "a.parquet")
    out, _ = built(tmp_path, tmp_path / "a.parquet")
    assert summary(out)["en"].unreadable == {"rows": 1, "first": "a.parquet, row 8: field 'text' is null"}


@pytest.mark.parametrize(
    ("limit", "fits"), [(0.05, False), (0.1, True), (3, True), (2, False), (0, False), (1.0, True)]
)
def test_the_limit_is_a_number_or_a_share(tmp_path: Path, limit: float, fits: bool) -> None:
    file = write(tmp_path / "a.jsonl", [*rows(30), *BROKEN])
    if fits:
        built(tmp_path, file, unreadable_rows=limit)
        return
    with pytest.raises(CorpusError, match=r"corpus\.unreadable_rows allows .* field 'text' is null") as error:
        built(tmp_path, file, unreadable_rows=limit)
    assert error.value.where == f"{file}, row 31"


def test_a_field_that_no_row_has_is_told_early(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"id": i, "body": "x"} for i in range(200)])
    with pytest.raises(CorpusError, match="there is no field 'text'") as error:
        built(tmp_path, file)
    assert error.value.where == f"{file}, row 1"
    assert "body" in error.value.fix


def test_halves_of_surrogate_pairs_are_cleaned_from_every_field(tmp_path: Path) -> None:
    content = rows(20)
    half = "\ud83d"
    content[0] |= {"id": "a0" + half, "title": half + "T", "licence": "MIT" + half, "work": half + "w"}
    content[0]["text"] += half
    out, _ = built(tmp_path, write(tmp_path / "a.jsonl", content))
    found = [d for split in SPLITS for d in read_documents(out, split, "en") if d.title]
    assert [(d.id, d.title, d.licence, d.work) for d in found] == [("a0", "T", "MIT", "w")]
    assert found[0].text == rows(1)[0]["text"]


def test_ids_with_a_hash_are_works_of_their_own(tmp_path: Path) -> None:
    content = [{**row, "id": f"#{number}"} for number, row in enumerate(rows(20))]
    out, _ = built(tmp_path, write(tmp_path / "a.jsonl", content))
    assert [summary(out)["en"].splits[split].documents for split in SPLITS] == [18, 1, 1]


@pytest.mark.parametrize("row", ["null", "[1]", '"text"', "3"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_rows_that_are_no_objects(tmp_path: Path, name: str, row: str) -> None:
    file = write(tmp_path / name, rows(40))
    file.write_text(file.read_text() + row + "\n")
    out, _ = built(tmp_path, file)
    assert summary(out)["en"].unreadable["rows"] == 1
    assert "not an object" in summary(out)["en"].unreadable["first"]


def test_a_file_without_objects(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["a", "b"]')
    with pytest.raises(CorpusError, match="a str, not an object"):
        built(tmp_path, tmp_path / "a.json")


def test_files_that_are_left_out_are_told(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    write(tmp_path / "texts" / "a.jsonl", rows(30))
    bad = write(tmp_path / "texts" / "b.jsonl", rows(60)[30:])
    bad.write_text(bad.read_text() + '{"text": "cut')
    with pytest.raises(CorpusError, match="not JSON as expected"):
        built(tmp_path, tmp_path / "texts")
    (tmp_path / "out").rmdir()
    out, messages = built(tmp_path, tmp_path / "texts", skip_bad=1)
    about = summary(out)["en"]
    told = "b.jsonl, line 31: not JSON as expected: Unterminated string"
    assert about.unreadable == {"rows": 0, "files": [told]}
    assert sum(split.documents for split in about.splits.values()) == 60
    assert f"a file left out from there on: {told}" in "".join(messages)
    assert f"en: a file left out from there on: {told}" in _read_lines({"en": about})


def test_a_file_that_is_one_document_can_be_parted(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\n".join(row["text"] for row in rows(30)))
    with pytest.raises(CorpusError, match="1 document leave none") as error:
        built(tmp_path, file)
    assert "`document: line`" in error.value.fix
    (tmp_path / "out").rmdir()
    languages = {"en": {"source": {"type": "files", "path": str(file), "document": "line"}}}
    out, _ = built(tmp_path, file, languages=languages)
    assert sum(split.documents for split in summary(out)["en"].splits.values()) == 30
