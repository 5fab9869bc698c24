from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from orchestrator.corpus.sources.tei import Tei
from orchestrator.errors import CorpusError

NOVEL = """<?xml version="1.0" encoding="UTF-8"?>
<TEI xmlns="http://www.tei-c.org/ns/1.0" xml:id="ENG001" xml:lang="en">
 <teiHeader><fileDesc>
  <titleStmt><title>The Mill : ELTeC edition</title><author ref="viaf:1">Eliot, George (1819-1880)</author>
   <respStmt><name>Somebody</name></respStmt></titleStmt>
  <sourceDesc><bibl><title>Another title</title></bibl><p>Paragraph of the header.</p></sourceDesc>
 </fileDesc></teiHeader>
 <text>
  <front><div type="titlepage"><p>THE MILL</p></div></front>
  <body>
   <div type="liminal"><head>Preface</head><p>To the reader.</p></div>
   <div type="group">
    <head>BOOK ONE</head>
    <div type="chapter" n="1">
     <head>Chapter I</head>
     <p>A wide
        plain, where the <hi>broadening</hi> Floss<ref target="#n1">*</ref> hurries<pb n="2"/> on.</p>
     <note><p>A note.</p></note>
     <p>Second <note place="foot">aside</note>paragraph.</p>
     <milestone unit="subchapter"/>
     <quote><l>Verse one,</l><l>verse two.</l></quote>
     <div type="letter"><p>Dear <foreign>ami</foreign>,</p></div>
     <p>After the letter.</p>
    </div>
    <div type="chapter" n="2"><p>The end.</p></div>
   </div>
  </body>
  <back><div type="notes"><note xml:id="n1">A river.</note><p>Back matter.</p></div></back>
 </text>
</TEI>
"""


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    file = tmp_path / "ENG001.xml"
    file.write_text(NOVEL, encoding="utf-8")
    return file


def test_chapters_of_the_body(novel: Path) -> None:
    documents = list(Tei(path=str(novel.parent)).documents("en"))
    assert [d.id for d in documents] == ["ENG001#1", "ENG001#2", "ENG001#3"]
    assert {d.title for d in documents} == {"Eliot, George (1819-1880), The Mill : ELTeC edition"}
    assert [d.text for d in documents] == [
        "Preface\n\nTo the reader.",
        "Chapter I\n\nA wide plain, where the broadening Floss* hurries on.\n\nSecond paragraph.\n\n"
        "Verse one,\nverse two.\n\nDear ami,\n\nAfter the letter.",
        "The end.",
    ]


def test_body_without_divisions(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<TEI><text><body><head>One</head><p>Two.</p></body></text></TEI>")
    assert [d.text for d in Tei(path=str(tmp_path)).documents("en")] == ["One\n\nTwo."]


def test_broken_xml_names_file_and_line(novel: Path) -> None:
    novel.write_text(NOVEL[: len(NOVEL) // 2])
    with pytest.raises(CorpusError, match=r"not well-formed XML.*line") as error:
        list(Tei(path=str(novel)).documents("en"))
    assert error.value.where == str(novel)


def test_folder_without_xml(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"no files with \.xml"):
        Tei(path=str(tmp_path)).fingerprint("en")


def test_unknown_encoding(novel: Path) -> None:
    novel.write_text(NOVEL.replace("UTF-8", "x-no-such-encoding"), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"not well-formed XML.*encoding") as error:
        list(Tei(path=str(novel)).documents("en"))
    assert error.value.where == str(novel)


@pytest.mark.usefixtures("unreadable")
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.xml").touch()
    with pytest.raises(CorpusError, match="Permission denied"):
        list(Tei(path=str(tmp_path)).documents("en"))


def test_works_are_novels_by_their_place(novel: Path) -> None:
    (novel.parent / "more").mkdir()
    (novel.parent / "more" / "ENG001.xml").write_text(NOVEL, encoding="utf-8")
    found = [(d.id, d.work) for d in Tei(path=str(novel.parent)).documents("en")]
    assert len({name for name, _ in found}) == len(found)
    assert {work for _, work in found} == {"ENG001", "more/ENG001"}
    assert found[0] == ("ENG001#1", "ENG001")


def test_compressed_and_utf16(novel: Path) -> None:
    expected = [d.text for d in Tei(path=str(novel)).documents("en")]
    utf16 = novel.with_name("b.xml")
    utf16.write_bytes(NOVEL.replace('"UTF-8"', '"UTF-16"').encode("utf-16"))
    packed = novel.with_name("c.xml.gz")
    packed.write_bytes(gzip.compress(NOVEL.encode()))
    for file in (utf16, packed):
        assert [d.text for d in Tei(path=str(file)).documents("en")] == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<TEI><text><body><p>" + b"<hi>" * 3000 + b"x" + b"</hi>" * 3000 + b"</p></body></text></TEI>", "too deep"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04", "ZIP"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(CorpusError, match=said):
        list(Tei(path=str(tmp_path)).documents("en"))
