"""Novels in TEI XML as the European Literary Text Collection publishes them (ELTeC, encoding level 1)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from orchestrator.corpus.document import Document, Lost, refuse
from orchestrator.corpus.reading.files import files_fingerprint, opened, short_names
from orchestrator.corpus.reading.finding import Found, find, suffix_of
from orchestrator.errors import CorpusError

_BLOCKS = frozenset({"head", "p", "l", "ab", "label", "trailer", "opener", "closer", "salute", "signed", "dateline"})
_SKIPPED = frozenset({"note", "front", "back", "teiHeader", "gap", "figDesc"})


@dataclass(frozen=True)
class Tei:
    """One document a chapter, ``file#number``: the chapters of a novel stay in one split."""

    located: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    """File, folder (every depth) or glob of XML files; ``{language}`` in it stands for the language."""
    licence: str = "CC-BY-4.0"
    """Licence of the edition."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:  # noqa: ARG002 (no rows)
        """Chapters of the body in their order, headings and verse lines included, notes and front matter left out.

        Raises:
            CorpusError: no XML files, or one that is not readable or not well-formed.
        """
        files = self.found(language).files
        for file, short in zip(files, short_names(files), strict=True):
            reader, work = _Reader(), short[: -len(suffix_of(file))]
            for number, text in enumerate(_chapters(file, reader), start=1):
                title = ", ".join(part for part in (reader.author, reader.title) if part)
                yield Document(f"{work}#{number}", title, text, "tei", self.licence, work)

    def fingerprint(self, language: str) -> str:
        """Names and content of the files."""
        return files_fingerprint(self.found(language).files)

    def found(self, language: str) -> Found:
        """The XML files."""
        return find(self.path, language, (".xml",))


def _chapters(file: Path, reader: _Reader) -> Iterator[str]:
    try:
        with opened(file, unicode=True) as stream:
            for event, element in ET.iterparse(stream, events=("start", "end")):
                chapter = reader.start(element) if event == "start" else reader.end(element)
                if chapter:
                    yield chapter
    except RecursionError:
        raise CorpusError("elements are nested too deep", where=str(file), fix="mend the file") from None
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two: an encoding Python or expat lacks
        raise CorpusError(
            f"not well-formed XML: {error}", where=str(file), fix="get the file again, or mend it at that line"
        ) from None


@dataclass
class _Reader:
    """Turns parse events into chapters. Elements are emptied once read: memory is bounded by a chapter."""

    title: str = ""
    author: str = ""
    _path: list[str] = field(default_factory=list)
    _blocks: list[str] = field(default_factory=list)
    _paragraphs: int = 0
    _last: str = ""
    _chapter_depth: int | None = None

    def start(self, element: ET.Element) -> str:
        """Enter an element. Returns the text before it, where a division begins that is no part of a chapter."""
        name = _name(element)
        self._path.append(name)
        if name != "div" or not self._in_body() or self._chapter_depth is not None:
            return ""
        if element.get("type") == "chapter":
            self._chapter_depth = len(self._path)
        return self._flush()

    def end(self, element: ET.Element) -> str:
        """Leave an element. Returns a chapter's text where one ends here."""
        name = _name(element)
        depth = len(self._path)
        self._path.pop()
        if not self._in_body():
            self._read_header(name, element)
            return self._flush() if name == "body" else ""
        if name in _BLOCKS and not _BLOCKS.intersection(self._path):
            self._add(element, name)
            element.clear()
        if name != "div" or (self._chapter_depth is not None and depth > self._chapter_depth):
            return ""
        element.clear()
        self._chapter_depth = None
        return self._flush()

    def _in_body(self) -> bool:
        return "body" in self._path and not _SKIPPED.intersection(self._path)

    def _read_header(self, name: str, element: ET.Element) -> None:
        if self._path[-1:] == ["titleStmt"] and name in ("title", "author"):
            known = getattr(self, name)
            setattr(self, name, known or _plain(element))

    def _add(self, element: ET.Element, name: str) -> None:
        text = _plain(element)
        if text:
            self._blocks.append(("\n" if name == self._last == "l" else "\n\n") + text)
            self._last = name
            self._paragraphs += name != "head"

    def _flush(self) -> str:
        # A part's own heading, with no text under it but its chapters, is no document.
        text = "".join(self._blocks).strip() if self._paragraphs else ""
        self._blocks, self._paragraphs = [], 0
        return text


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _plain(element: ET.Element) -> str:
    return " ".join("".join(_strings(element)).split())


def _strings(element: ET.Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        name = _name(child)
        if name not in _SKIPPED:
            yield from _strings(child)
        if name == "lb":
            yield " "
        yield child.tail or ""
