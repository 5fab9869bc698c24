from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.corpus.sources.files import Files
from orchestrator.errors import CorpusError


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in rows), encoding="utf-8")
    return path


def test_folder_of_text_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "b" / "two.txt").write_text("zwei", encoding="utf-8")
    (tmp_path / "one.txt").write_bytes("\ufeffeins".encode())
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".git" / "note.txt").write_text("hidden")
    found = [(d.id, d.title, d.text, d.licence) for d in Files(path=str(tmp_path), licence="CC0-1.0").documents("de")]
    assert found == [("b/two.txt", "two", "zwei", "CC0-1.0"), ("one.txt", "one", "eins", "CC0-1.0")]


def test_language_in_the_path_and_globs(tmp_path: Path) -> None:
    for name in ("fr-1.txt", "fr-2.txt", "de-1.txt"):
        (tmp_path / name).write_text(name)
    assert [d.text for d in Files(path=str(tmp_path / "{language}-*.txt")).documents("fr")] == ["fr-1.txt", "fr-2.txt"]


def test_json_lines_fields(tmp_path: Path) -> None:
    file = write_jsonl(
        tmp_path / "a.jsonl",
        [
            {"article_id": "x1", "text": "un", "title": "T", "licence": "MIT"},
            {"id": 7, "text": "deux"},
            {"text": "trois"},
        ],
    )
    documents = list(Files(path=str(file)).documents("fr"))
    assert [d.id for d in documents] == ["x1", "7", "a.jsonl:5"]
    assert [(d.title, d.licence) for d in documents] == [("T", "MIT"), ("", ""), ("", "")]
    named = Files(path=str(file), text_field="title", id_field="text")
    assert next(named.documents("fr")).id == "un"


def test_parquet_over_row_groups(tmp_path: Path) -> None:
    rows = [{"id": str(i), "body": f"text {i}"} for i in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=300)
    documents = list(Files(path=str(tmp_path), text_field="body").documents("en"))
    assert [(d.id, d.text) for d in documents] == [(row["id"], row["body"]) for row in rows]


def test_fingerprint_notices_a_change(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    source = Files(path=str(tmp_path))
    before = source.fingerprint("en")
    assert source.fingerprint("en") == before
    file.write_text("other")
    assert source.fingerprint("en") != before


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no files") as error:
        list(Files(path=str(tmp_path / "none" / "*.txt")).documents("en"))
    assert "none" in error.value.where
    assert error.value.fix


def test_a_path_that_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match="no such file or folder") as error:
        list(Files(path="data/es").documents("es"))
    assert error.value.fix.endswith(f"it begins in {tmp_path}")


def test_not_utf8_text_names_line_and_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\nbad \xe9t\xe9\n")
    with pytest.raises(CorpusError, match="not UTF-8") as error:
        list(Files(path=str(tmp_path)).documents("fr"))
    assert error.value.where.endswith("a.txt, line 2, byte 9")
    assert "iconv" in error.value.fix


def test_not_utf8_json_lines_names_line_and_byte(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "\xe9"}\n')
    with pytest.raises(CorpusError, match="not UTF-8") as error:
        list(Files(path=str(tmp_path)).documents("fr"))
    assert error.value.where.endswith("line 2, byte 24")


@pytest.mark.parametrize("line", ['{"text": "a', "[1, 2]", "7"])
def test_damaged_json_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(CorpusError, match="JSON") as error:
        list(Files(path=str(tmp_path)).documents("fr"))
    assert "line 2" in error.value.where


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_truncated_parquet(tmp_path: Path, keep: float) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(5000)]}), file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CorpusError, match="not readable as Parquet") as error:
        list(Files(path=str(file)).documents("fr"))
    assert str(file) == error.value.where


def test_parquet_damaged_inside(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" * 20 for i in range(5000)]}), file, compression="zstd")
    data = bytearray(file.read_bytes())
    data[100:2000] = b"\xff" * 1900
    file.write_bytes(data)
    with pytest.raises(CorpusError, match="not readable as Parquet"):
        list(Files(path=str(file)).documents("fr"))


def test_missing_text_field_names_those_there(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": 1, "content": "x"}])
    with pytest.raises(CorpusError, match="no field 'text'") as error:
        list(Files(path=str(tmp_path)).documents("fr"))
    assert error.value.fix == "name the field as text_field; fields here: id, content"
    with pytest.raises(CorpusError, match="is no text"):
        list(Files(path=str(tmp_path), text_field="id").documents("fr"))
    with pytest.raises(CorpusError, match="no field 'key'") as error:
        list(Files(path=str(tmp_path), text_field="content", id_field="key").documents("fr"))
    assert error.value.fix.startswith("name the field as id_field")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
@pytest.mark.usefixtures("unreadable")
def test_file_that_may_not_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    for read in (lambda source: list(source.documents("en")), lambda source: source.fingerprint("en")):
        with pytest.raises(CorpusError, match="Permission denied") as error:
            read(Files(path=str(tmp_path)))
        assert error.value.where == str(tmp_path / name)


def test_parquet_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.parquet").touch()
    monkeypatch.setattr(pq, "ParquetFile", refuse)
    with pytest.raises(CorpusError, match="Permission denied"):
        list(Files(path=str(tmp_path)).documents("en"))


def test_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "texts").mkdir()
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(CorpusError, match="Permission denied") as error:
        list(Files(path=str(tmp_path / "texts")).documents("en"))
    assert error.value.where == str(tmp_path / "texts")


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    texts = [b"good"] * 700
    texts[600] = b"na\xefve"
    column = pa.Array.from_buffers(pa.string(), len(texts), pa.array(texts, pa.binary()).buffers())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet", row_group_size=300)
    with pytest.raises(CorpusError, match="not UTF-8") as error:
        list(Files(path=str(tmp_path)).documents("fr"))
    assert error.value.where == f"{tmp_path / 'a.parquet'}, row 601"


def test_fingerprint_is_of_names_and_content_only(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place / "inner").mkdir(parents=True)
        (tmp_path / place / "a.txt").write_text("eins")
        (tmp_path / place / "inner" / "b.txt").write_text("zwei")
    os.utime(tmp_path / "there" / "a.txt", (1, 1))
    here, there = (Files(path=str(tmp_path / place)) for place in ("here", "there"))
    assert here.fingerprint("de") == there.fingerprint("de")
    (tmp_path / "there" / "a.txt").rename(tmp_path / "there" / "c.txt")
    assert here.fingerprint("de") != there.fingerprint("de")


@pytest.mark.parametrize(
    ("value", "work"),
    [("0", "0"), ("7", "7"), ("1.5", "1.5"), ('"a#1"', "a#1"), ('""', ""), ("null", ""), ("NaN", ""), ("false", "")],
)
def test_a_work_may_be_a_number(tmp_path: Path, value: str, work: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"id": {value}, "work": {value}, "text": "x"}}\n')
    (document,) = Files(path=str(tmp_path)).documents("en")
    assert (document.work, document.id) == (work, work or "a.jsonl:1")
