"""Every format, plain and compressed, gives the same documents; what is no data is refused with what to do."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from orchestrator.corpus.document import BadFileError, Document
from orchestrator.corpus.sources.files import Files
from orchestrator.errors import CorpusError

TEXTS = ["one, with a comma", 'two "quoted"', "three\nlines\n\nhere", "né 猫 ไทย"]
ROWS: list[dict[str, Any]] = [{"id": f"r{number}", "text": text} for number, text in enumerate(TEXTS)]


def table(rows: list[dict[str, Any]] = ROWS) -> pa.Table:
    return pa.Table.from_pylist(rows)


def as_csv(delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["id", "text"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def as_arrow(found: pa.Table, make: Callable[..., Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with make(sink, found.schema) as writer:
        writer.write_table(found)
    return sink.getvalue().to_pybytes()


def as_parquet(found: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(found, sink, **options)
    return sink.getvalue().to_pybytes()


def as_feather() -> bytes:
    sink = pa.BufferOutputStream()
    feather.write_feather(table(), sink)
    return sink.getvalue().to_pybytes()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FORMATS = {
    "a.jsonl": LINES,
    "a.ndjson": b"\xef\xbb\xbf" + LINES,
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "a.csv": b"\xef\xbb\xbf" + as_csv(),
    "a.tsv": as_csv("\t"),
    "a.parquet": as_parquet(table()),
    "a.feather": as_feather(),
    "a.arrow": as_arrow(table(), pa.ipc.new_file),
    "stream.arrow": as_arrow(table(), pa.ipc.new_stream),
}
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def read(path: Path, **options: Any) -> list[Document]:
    return list(Files(path=str(path), **options).documents("en"))


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_in_every_compression(tmp_path: Path, name: str, compression: str) -> None:
    file = tmp_path / "deep" / "er" / (name + compression)
    file.parent.mkdir(parents=True)
    file.write_bytes(COMPRESSED[compression](FORMATS[name]))
    for place in (file, tmp_path):  # named, and as all that a folder holds
        assert [(d.id, d.text) for d in read(place)] == [(row["id"], row["text"]) for row in ROWS]
    source = Files(path=str(tmp_path))
    assert source.fingerprint("en") == Files(path=str(file)).fingerprint("en")
    assert source.found("en").counts()["read"] == {
        file.suffix if not compression else Path(name).suffix + compression: 1
    }


def test_a_zstandard_file_of_several_frames(tmp_path: Path) -> None:
    one, two = LINES[: LINES.index(b"\n") + 1], LINES[LINES.index(b"\n") + 1 :]
    (tmp_path / "a.jsonl.zst").write_bytes(COMPRESSED[".zst"](one) + COMPRESSED[".zst"](two))
    assert [d.text for d in read(tmp_path)] == TEXTS


def test_folders_read_what_they_read_before(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "metadata.csv").write_bytes(as_csv())
    (tmp_path / "b.jsonl.zst").write_bytes(COMPRESSED[".zst"](LINES))
    source = Files(path=str(tmp_path))
    assert len(list(source.documents("en"))) == len(ROWS)
    assert source.found("en").left_out == {".csv": 1, ".jsonl.zst": 1}
    everything = Files(path=str(tmp_path), suffixes=(".jsonl", ".jsonl.zst", ".csv"))
    assert len(list(everything.documents("en"))) == 3 * len(ROWS)


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "garbled", "none"])
def test_damaged_compression_names_the_file(tmp_path: Path, compression: str, damage: str) -> None:
    data = bytearray(COMPRESSED[compression]("".join(f"{i} {i * i} text\n" for i in range(9000)).encode()))
    if damage == "cut":
        del data[-20:]
    elif damage == "garbled":
        data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    else:
        data[:] = b"plain text"
    file = tmp_path / f"a.txt{compression}"
    file.write_bytes(data)
    with pytest.raises(CorpusError, match="compression is damaged") as error:
        read(file)
    assert error.value.where == str(file)


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz", ".zst"])
def test_an_archive_bomb_is_refused(tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.corpus.reading.compression.HARMLESS", 1 << 20)
    file = tmp_path / f"a.txt{compression}"
    file.write_bytes(COMPRESSED[compression](b"a" * (8 << 20)))
    with pytest.raises(CorpusError, match="archive bomb") as error:
        read(file)
    assert error.value.where == str(file)


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_a_bomb_in_a_table_s_own_compression_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.corpus.reading.compression.HARMLESS", 1 << 20)
    file, table = tmp_path / f"a{suffix}", pa.table({"text": ["a" * (8 << 20)]})
    if suffix == ".parquet":
        pq.write_table(table, file, compression="zstd")
    elif suffix == ".feather":
        feather.write_feather(table, file, compression="zstd")
    else:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(file, table.schema, options=options) as stream:
            stream.write_table(table)
    with pytest.raises(CorpusError, match="archive bomb") as error:
        list(Files(path=str(file)).documents("en"))
    assert error.value.where == str(file)


@pytest.mark.parametrize("name", ["a.arrow", "stream.arrow", "a.feather", "a.parquet", "a.json"])
def test_a_file_that_is_cut_off_is_told(tmp_path: Path, name: str) -> None:
    for share in (0.3, 0.6, 0.9):
        (tmp_path / name).write_bytes(FORMATS[name][: int(share * len(FORMATS[name]))])
        with pytest.raises(CorpusError) as error:
            list(Files(path=str(tmp_path / name)).documents("en"))
        assert error.value.where.startswith(str(tmp_path / name))


def test_a_batch_of_arrow_is_checked_before_its_rows_are_read(tmp_path: Path) -> None:
    """Arrow does not look by itself: here text is no UTF-8, which it says when it is asked."""
    offsets, text = pa.py_buffer(np.array([0, 2], np.int32).tobytes()), pa.py_buffer(b"a\xff")
    batch = pa.record_batch({"text": pa.Array.from_buffers(pa.string(), 1, [None, offsets, text])})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(CorpusError) as error:
        list(Files(path=str(tmp_path / "a.arrow")).documents("en"))
    assert "UTF8" in str(error.value)


@pytest.mark.parametrize("write", [as_parquet, lambda table: as_arrow(table, pa.ipc.new_file)])
@pytest.mark.parametrize(
    "held",
    [
        pa.array([0, 2**60], pa.timestamp("ms")),
        pa.array([0, 2**61], pa.timestamp("us", tz="UTC")),
        pa.array([0, 1], pa.timestamp("us", tz="Nowhere/Land")),
        pa.array([0, 2**30], pa.date32()),
        pa.array([0, 2**62], pa.duration("ms")),
        pa.array([[], [2**60]], pa.list_(pa.timestamp("ms"))),
    ],
    ids=lambda held: str(held.type),
)
def test_values_that_python_has_no_object_for(tmp_path: Path, held: pa.Array, write: Callable[..., bytes]) -> None:
    file = tmp_path / ("a.parquet" if write is as_parquet else "a.arrow")
    file.write_bytes(write(pa.table({"text": ["one", "two"], "at": held})))
    assert [d.text for d in read(file)] == ["one", "two"]
    assert Files(path=str(file)).fields("en") == ["text", "at"]
    with pytest.raises(CorpusError, match="there is no field 'body'"):
        read(file, text_field="body")
    for field in ("id_field", "text_field"):
        with pytest.raises(CorpusError, match=r"the column 'at' \(.*\) has a value that can't be read") as error:
            read(file, **{field: "at"})
        assert error.value.where == str(file)
        assert "as text" in error.value.fix


def test_a_document_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.corpus.reading.files.LARGEST", 1000)
    (tmp_path / "a.txt").write_text("word " * 300)
    with pytest.raises(CorpusError, match="more than 1,000 bytes") as error:
        read(tmp_path / "a.txt")
    assert "document: line" in error.value.fix
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "word " * 300}))
    with pytest.raises(CorpusError, match="the line has more than") as error:
        read(tmp_path / "a.jsonl")
    assert error.value.where.endswith("a.jsonl, line 1")


def test_archives_of_files_are_refused_for_what_they_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "x")
        archive.writestr("b.txt", "x")
    with pytest.raises(CorpusError, match=r"not read: 1 \.zip \(an archive of 2 files\)") as error:
        read(tmp_path / "a.zip")
    assert "unzip" in error.value.fix
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for place in (data.index(b"PK\x01\x02") + 8, data.rindex(b"PK\x01\x02") + 8):
        data[place] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(CorpusError, match="under a password"):
        read(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"Salted__abcdefgh", "encrypted by OpenSSL"),
        (b"-----BEGIN PGP MESSAGE-----\n", "by PGP"),
        (b"Rar!\x1a\x07\x01", "RAR"),
    ],
)
def test_encrypted_files_are_refused(tmp_path: Path, head: bytes, what: str) -> None:
    (tmp_path / "a.txt").write_bytes(head)
    with pytest.raises(CorpusError, match=what):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ["windows-1252", "utf-16", "utf-16-le", "utf-8-sig", "UTF8"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv"])
def test_encodings_are_said(tmp_path: Path, name: str, encoding: str) -> None:
    text = "año – naïve"
    content = {"a.txt": text, "a.csv": f"text\n{text}\n"}.get(name, json.dumps({"text": text}, ensure_ascii=False))
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert [d.text for d in read(tmp_path / name, encoding=encoding)] == [text]


def test_a_mark_of_byte_order_goes_in_every_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffaño".encode("utf-16-be"))
    assert [d.text for d in read(tmp_path, encoding="utf-16-be")] == ["año"]


def test_another_encoding_than_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\n" * 20_000 + b"\xff\xff")
    with pytest.raises(CorpusError, match="not in the encoding shift_jis") as error:
        read(tmp_path, encoding="shift_jis")
    assert error.value.where.endswith("near byte 100000") or "near byte" in error.value.where
    (tmp_path / "a.csv").write_bytes("text\naño\n".encode("windows-1252"))
    with pytest.raises(CorpusError, match="not UTF-8") as error:
        read(tmp_path / "a.csv")
    assert "windows-1252" in error.value.fix


@pytest.mark.parametrize("document", ["line", "paragraph", "file"])
def test_what_of_a_text_is_a_document(tmp_path: Path, document: str) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\ntwo\r\n\r\n \r\nthree\nfour".encode())
    found = [(d.id, d.title, d.text) for d in read(tmp_path, document=document)]
    if document == "line":
        assert [(i, t.strip()) for i, _, t in found] == [
            ("a.txt:1", "one"), ("a.txt:2", "two"), ("a.txt:5", "three"), ("a.txt:6", "four"),
        ]  # fmt: skip
    elif document == "paragraph":
        assert found == [("a.txt:1", "", "one\r\ntwo\r\n"), ("a.txt:5", "", "three\nfour")]
    else:
        assert found == [("a.txt", "a", "one\r\ntwo\r\n\r\n \r\nthree\nfour")]


def test_lines_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\nbad \xe9t\xe9\n")
    with pytest.raises(CorpusError, match="not UTF-8") as error:
        read(tmp_path, document="line")
    assert error.value.where.endswith("a.txt, line 2, byte 9")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()]
)
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_types_of_text_columns(tmp_path: Path, kind: pa.DataType, name: str) -> None:
    values = ["a", None, "b", "", "a"]
    column = (
        pa.array(values, pa.string()).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(values, kind)
    )
    found = pa.table({"text": column, "picture": [b"\x89PNG"] * 5})
    (tmp_path / name).write_bytes(as_parquet(found) if name == "a.parquet" else as_arrow(found, pa.ipc.new_file))
    lost: list[CorpusError] = []
    documents = Files(path=str(tmp_path / name)).documents("en", lost.append)
    assert [(d.id, d.text) for d in documents] == [(f"{name}:{n}", t) for n, t in enumerate(values, 1) if t is not None]
    assert [error.what for error in lost] == ["field 'text' is null"]


NESTED = [{"meta": {"key": f"k{i}", "book": "b"}, "body": {"title": "T", "text": f"text {i}"}} for i in range(3)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.arrow"])
def test_nested_and_several_fields(tmp_path: Path, name: str) -> None:
    if name == "a.jsonl":
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in NESTED))
    else:
        found = table(NESTED)
        (tmp_path / name).write_bytes(as_parquet(found) if name == "a.parquet" else as_arrow(found, pa.ipc.new_stream))
    fields = {"text_field": ("body.title", "body.text"), "id_field": "meta.key", "work_field": "meta.book"}
    found = [(d.id, d.work, d.text) for d in read(tmp_path / name, **fields)]
    assert found == [(f"k{i}", "b", f"T\n\ntext {i}") for i in range(3)]
    with pytest.raises(CorpusError, match=r"no field 'body\.words'") as error:
        read(tmp_path / name, text_field="body.words")
    assert "body.text" in error.value.fix
    with pytest.raises(CorpusError, match="no text but dict") as error:
        read(tmp_path / name, text_field="body")
    assert error.value.fix == "name a field inside: body.title, body.text"


def test_a_field_with_a_dot_in_its_name_and_nulls_on_the_way(tmp_path: Path) -> None:
    rows = [{"a.b": "flat", "a": {"b": "deep"}}, {"a": {"b": "deep"}}, {"a": None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lost: list[CorpusError] = []
    found = Files(path=str(tmp_path), text_field="a.b").documents("en", lost.append)
    assert [d.text for d in found] == ["flat", "deep"]
    assert [error.what for error in lost] == ["field 'a.b' is null"]


def test_one_of_several_texts_may_lack(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "a"}, {"question": "q", "answer": None}, {"answer": "a"}, {"x": 1}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lost: list[CorpusError] = []
    found = Files(path=str(tmp_path), text_field=("question", "answer")).documents("en", lost.append)
    assert [d.text for d in found] == ["q\n\na", "q", "a"]
    assert [error.what for error in lost] == ["there is no field 'question'"]


def test_tables_in_other_dialects(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('7;eng;\'Tis "so"\n8;eng;"Is it?\n\n9;eng\n', encoding="utf-8")
    form = {"type": "csv", "delimiter": ";", "quote": "", "columns": ["id", "lang", "text"]}
    lost: list[CorpusError] = []
    found = Files_with(path=tmp_path, format=form).documents("en", lost.append)
    assert [(d.id, d.text) for d in found] == [("7", '\'Tis "so"'), ("8", '"Is it?')]
    assert [error.what for error in lost] == ["field 'text' is null"]


def Files_with(path: Path, **options: Any) -> Files:
    from orchestrator.plugins import create

    made: Files = create("corpus.sources", "files", {"path": str(path), **options})
    return made


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        ('text\nfirst\n"open\nfor ever\n', "not a table", 3),
        ('text\n"a"b\n', "not a table", 2),
        ("text,text\na,b\n", "names a column twice", 1),
    ],
)
def test_damaged_tables(tmp_path: Path, content: str, what: str, line: int) -> None:
    """The place is where a row begins: one whose quotation mark stays open ends with the file."""
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(CorpusError, match=what) as error:
        read(tmp_path / "a.csv")
    assert error.value.where.endswith(f"a.csv, line {line}")


def test_rows_with_too_many_cells_are_lost(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,a\n2,b,c\n3,d\n")
    lost: list[CorpusError] = []
    found = Files(path=str(tmp_path / "a.csv")).documents("en", lost.append)
    assert [d.id for d in found] == ["1", "3"]
    assert lost[0].what == "a row of 3 cells under 2 columns"
    assert lost[0].where.endswith("line 3")


def test_files_of_any_name_in_a_format(tmp_path: Path) -> None:
    (tmp_path / "part-0").write_bytes(LINES)
    assert [d.text for d in Files_with(tmp_path / "part-0", format="jsonl").documents("en")] == TEXTS
    assert [d.text for d in Files_with(tmp_path, format="jsonl").documents("en")] == TEXTS
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "README").write_text("x")
    assert Files_with(tmp_path, format="jsonl").found("en").left_out == {"": 2}


def test_bad_files_are_counted_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.jsonl").write_bytes(LINES + b'{"text": "cut')
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "\xe9"}\n')
    (tmp_path / "d.jsonl").write_bytes(LINES)
    lost: list[CorpusError] = []
    found = list(Files(path=str(tmp_path), skip_bad=2).documents("en", lost.append))
    assert len(found) == 3 * len(ROWS)  # of a damaged file, what stands before the damage
    assert [type(error) for error in lost] == [BadFileError, BadFileError]
    assert [error.where.rpartition("/")[2] for error in lost] == ["b.jsonl, line 5", "c.jsonl, line 1, byte 10"]
    with pytest.raises(CorpusError, match="bad file number 2, and skip_bad allows 1") as error:
        list(Files(path=str(tmp_path), skip_bad=1).documents("en", lost.append))
    assert "skip_bad higher" in error.value.fix
    with pytest.raises(CorpusError, match="not JSON"):
        list(Files(path=str(tmp_path)).documents("en", lost.append))


def test_too_many_rows_are_not_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n')

    def refuse(error: CorpusError) -> None:
        raise CorpusError("too many rows")

    with pytest.raises(CorpusError, match="too many rows"):
        list(Files(path=str(tmp_path), skip_bad=9).documents("en", refuse))
