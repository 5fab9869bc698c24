"""What of a path is read, what is left out and said, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import plugins
from orchestrator.corpus.sources.files import Files
from orchestrator.corpus.sources.tei import Tei
from orchestrator.errors import CorpusError

ROWS = [{"id": f"{i}", "text": f"text {i}"} for i in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def texts(**options: Any) -> list[str]:
    return [document.text for document in Files(**options).documents("en")]


def test_folder_of_many_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(LINES, mtime=0))
    (tmp_path / "c.ndjson").write_bytes(LINES)
    (tmp_path / "d.JSON").write_text(json.dumps(ROWS, indent=1))
    (tmp_path / "e.json.gz").write_bytes(gzip.compress(LINES, mtime=0))
    (tmp_path / "f.txt.gz").write_bytes(gzip.compress("plain é".encode(), mtime=0))
    (tmp_path / "g.csv").write_text("text\nx\n")
    (tmp_path / "h.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    (tmp_path / "README").write_text("x")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    source = Files(path=str(tmp_path))
    found = [(document.id, document.title, document.text) for document in source.documents("en")]
    assert len(found) == 5 * 4 + 1
    assert found[-1] == ("f.txt.gz", "f", "plain é")
    assert source.found("en").counts() == {
        "read": {".json": 1, ".json.gz": 1, ".jsonl": 1, ".jsonl.gz": 1, ".ndjson": 1, ".txt.gz": 1},
        "left_out": {"": 1, ".csv": 1, ".jsonl.zst": 1, "broken link": 1},
    }


def test_globs_read_rows_as_rows(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(LINES)
    (tmp_path / "b.csv").write_text("text\nx\n")
    assert texts(path=str(tmp_path / "*.ndjson")) == texts(path=str(tmp_path / "*")) == [row["text"] for row in ROWS]
    assert Files(path=str(tmp_path / "*")).found("en").left_out == {".csv": 1}


@pytest.mark.parametrize("name", ["*.html", "b.html", "**/*.html"])
def test_kinds_that_are_named_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.html").write_text("text\nx\n")
    with pytest.raises(CorpusError, match=r"not read: 1 \.html") as error:
        texts(path=str(tmp_path / name))
    assert "pandoc" in error.value.fix


def test_other_text_is_read_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.rs").write_text("fn main() {}")
    with pytest.raises(CorpusError, match="not read") as error:
        texts(path=str(tmp_path / "*.rs"))
    assert "suffixes: ['.rs']" in error.value.fix
    assert texts(path=str(tmp_path / "*.rs"), suffixes=(".RS",)) == ["fn main() {}"]
    assert texts(path=str(tmp_path), suffixes=()) == ["fn main() {}"]


def test_folder_where_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("x")
    (tmp_path / "b.parquet.lz4").write_text("x")
    with pytest.raises(CorpusError, match=r"no files .* 1 \.html, 1 \.lz4") as error:
        texts(path=str(tmp_path))
    assert "lz4 -d" in error.value.fix
    with pytest.raises(CorpusError, match=r"not read: 1 \.html") as error:
        Tei(path=str(tmp_path / "a.html")).fingerprint("en")
    assert "suffixes" not in error.value.fix


def test_linked_folders_without_loops(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text("linked")
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("there")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    assert texts(path=str(folder)) == ["there", "linked"]
    assert texts(path=str(folder / "**" / "*.txt")) == ["there", "linked"]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        LINES.decode(),
        "\n\n".join(json.dumps(row, indent=2) for row in ROWS) + "\n\n",
        "\ufeff" + json.dumps(ROWS),
        json.dumps(ROWS[:1]) + json.dumps(ROWS[1:2]) + "\n[]\n" + json.dumps(ROWS[2:]),
        json.dumps(ROWS[:1]) + "\n" + "\n".join(map(json.dumps, ROWS[1:])),
        "\n".join(json.dumps([row]) for row in ROWS),
    ],
)
def test_json_in_its_usual_layouts(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert texts(path=str(tmp_path)) == [row["text"] for row in ROWS]


@pytest.mark.parametrize(
    "content",
    [
        *('["a", "b"]', "[1]", "[[1]]", '[{"text": "a"}, {"te', '{"text": "a"} x', '"a"'),
        *('[{"text": "a"}] x', '[{"text": "a"}]]', '[{"text": "a"}][{"text": "b"}', '[{"text": "a"}], {"text": "b"}'),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(CorpusError, match="not JSON as expected") as error:
        texts(path=str(tmp_path))
    assert "a.json" in error.value.where
    assert error.value.fix


def test_damage_in_the_middle_is_told_without_reading_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.corpus.reading.json_values._READ", 64)
    (tmp_path / "a.json").write_text('[{"text": oops' + " " * 10_000 + "}]")
    monkeypatch.setattr("orchestrator.corpus.reading.json_values._SPACE", " \n")
    with pytest.raises(CorpusError, match="Expecting value"):
        texts(path=str(tmp_path))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("value", ["[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, "9" * 5000])
def test_json_that_python_gives_up_on(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / name).write_text('{"text": "a"}\n{"text": "b", "more": ' + value + "}\n")
    with pytest.raises(CorpusError, match=r"nested too deep|integer string"):
        texts(path=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "head", "what", "fix"),
    [
        ("a.txt", gzip.compress(b"text", mtime=0), "gzip", "gunzip"),
        ("a.jsonl", gzip.compress(LINES, mtime=0), "gzip", ".jsonl.gz"),
        ("a.jsonl", b"\x28\xb5\x2f\xfd\x04\x00", "Zstandard", "zstd -d"),
        ("a.txt", b"ARROW1\x00\x00" + b"\xff" * 9, "Arrow file", ".arrow"),
        ("a.txt", b"\xff\xff\xff\xff\x10\x00", "Arrow stream", ".arrow"),
        ("a.md", b"PK\x03\x04", "ZIP", "unzip"),
        ("a.txt", b"PAR1\x15\x04", "Parquet", ".parquet"),
        ("a.txt", b"%PDF-1.7\n", "PDF", "pdftotext"),
        ("a.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
        ("a.txt", "año".encode("utf-16"), "UTF-16", "iconv -f UTF-16 -t UTF-8"),
        ("a.jsonl", '{"text": "a"}'.encode("utf-16-le"), "UTF-16", "iconv -f UTF-16LE"),
        ("a.txt", "una casa".encode("utf-16-be"), "UTF-16", "iconv -f UTF-16BE"),
        ("a.json", "[]".encode("utf-32"), "UTF-32", "iconv -f UTF-32"),
        ("a.txt.gz", gzip.compress("año".encode("utf-16"), mtime=0), "UTF-16", "iconv -f UTF-16 "),
    ],
)
def test_files_under_a_wrong_name_are_told_for_what_they_are(
    tmp_path: Path, name: str, head: bytes, what: str, fix: str
) -> None:
    (tmp_path / name).write_bytes(head)
    with pytest.raises(CorpusError, match=what) as error:
        texts(path=str(tmp_path))
    assert fix in error.value.fix
    assert "1252" not in str(error.value)


def test_arrow_under_the_name_of_parquet(tmp_path: Path) -> None:
    with pa.OSFile(str(tmp_path / "a.parquet"), "wb") as sink, pa.ipc.new_file(sink, pa.schema({"text": pa.string()})):
        pass
    with pytest.raises(CorpusError, match="Arrow file"):
        texts(path=str(tmp_path))


def test_text_may_begin_with_any_letters(tmp_path: Path) -> None:
    begins = ["BZh is a name", "PARIS", "7z", "ÿþ no mark", "\x00 a zero", "Я"]
    for number, text in enumerate(begins):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    assert texts(path=str(tmp_path)) == begins


@pytest.mark.parametrize("cut", [-9, 15])
def test_damaged_gzip(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINES * 50, mtime=0)[:cut])
    with pytest.raises(CorpusError, match="gzip compression is damaged"):
        texts(path=str(tmp_path))


def test_no_gzip_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(LINES)
    with pytest.raises(CorpusError, match="gzip compression is damaged"):
        texts(path=str(tmp_path))


def test_a_bytes_column_is_text_where_it_is_utf8(tmp_path: Path) -> None:
    rows = {"text": [b"good", "né".encode(), b"na\xefve"], "id": [b"a", b"b", b"c"], "title": [b"T", None, b"\xff"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    lost: list[CorpusError] = []
    found = [(d.id, d.title, d.text) for d in Files(path=str(tmp_path)).documents("en", lost.append)]
    assert found == [("a", "T", "good"), ("b", "", "né")]
    assert [error.what for error in lost] == ["field 'text' is bytes that are not UTF-8"]


def test_works_of_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "n#1", "work": "n", "text": "x"}\n{"id": "#2", "text": "y"}\n')
    assert [d.work for d in Files(path=str(tmp_path)).documents("en")] == ["n", ""]


def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    assert texts(path=str(tmp_path)) == ["x"]
    assert Files(path=str(tmp_path)).found("en").left_out == {"broken link": 1, "special file": 2}
    for name, what in (("pipe.txt", "a pipe"), ("zero.txt", "a device"), ("gone.txt", "leads to nothing: nowhere")):
        with pytest.raises(CorpusError, match=what):
            texts(path=str(tmp_path / name))


@pytest.mark.parametrize("place", ["", "*", "*.txt"])
def test_broken_links_alone_are_told(tmp_path: Path, place: str) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(CorpusError, match="to read, but 2 broken links") as error:
        texts(path=str(tmp_path / place))
    assert error.value.fix.startswith("broken link: mend it")


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("x")
    (tmp_path / os.fsdecode(b"b.\xfe")).write_text("x")
    source = Files(path=str(tmp_path))
    assert [(document.id, document.title) for document in source.documents("en")] == [(r"\xff.txt", r"\xff")]
    assert source.found("en").counts()["left_out"] == {r".\xfe": 1}
    assert len(source.fingerprint("en")) == 64


def test_archives_and_programs_are_no_text(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.txt", "w") as archive:
        archive.add(__file__, "a.py")
    with pytest.raises(CorpusError, match="a tar archive"):
        texts(path=str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"ab\x00\x01" * 40)
    with pytest.raises(CorpusError, match="full of zero bytes"):
        texts(path=str(tmp_path))


@pytest.mark.parametrize("source", ["files", "hub", "paper_json", "tei", "wiki40b", "github_code"])
def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match="the path is empty"):
        plugins.create("corpus.sources", source, {"path": ""}).fingerprint("en")
