"""Your own files: plain text, JSON, tables, Parquet, Arrow, compressed or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator import plugins
from orchestrator.artifacts import digest
from orchestrator.config.base import build, plugin_of
from orchestrator.corpus.document import BadFileError, Document, Lost, refuse
from orchestrator.corpus.reading.chat import template_identity
from orchestrator.corpus.reading.contract import WHOLE, Format, Reading
from orchestrator.corpus.reading.encodings import Encoding
from orchestrator.corpus.reading.fields import names
from orchestrator.corpus.reading.files import files_fingerprint, short_names, written
from orchestrator.corpus.reading.finding import Found, find, inner_suffix, suffix_of
from orchestrator.corpus.reading.saved import check_one_split
from orchestrator.corpus.sources._documents import Fields
from orchestrator.errors import CorpusError

_ROOM = "corpus.formats"
_FIRST = 20
_SUFFIXES = (".txt", ".md", ".jsonl", ".ndjson", ".json", ".parquet", ".py")


@dataclass(frozen=True)
class Files:
    """A file, a folder or a glob, at any depth, plain or compressed (``.gz``, ``.zst``, ``.xz``, ``.bz2``). JSON lines,
    JSON, CSV, TSV, Parquet, Arrow and what ``save_to_disk`` wrote hold a document a row; any other file is text.
    """

    located: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    """File, folder (every depth) or glob; ``{language}`` in it stands for the language."""
    text_field: str | Annotated[tuple[str, ...], Field(min_length=1)] = "text"
    """Field of the text; ``a.b`` is field `b` of the field `a`. Several: their texts, apart by an empty line; one of
    them may be empty or missing."""
    id_field: str | None = None
    """Field of the document's id; null: `article_id` or `id` where there is one, else file and row."""
    title_field: str = "title"
    """Field of the title; documents may lack it."""
    work_field: str = "work"
    """Field of the work that a document is part of, whose parts stay in one split; documents may lack it."""
    suffixes: tuple[str, ...] = _SUFFIXES
    """Endings of the files that are read, also followed by ``.gz``; one that no format has is read as plain text. Other
    files of a folder are left out and counted. Where this is left out, other formats and compressions are read too if
    `path` names them, or if the folder holds nothing else."""
    licence: str = ""
    """Licence of the texts, kept with them; a field `licence` or `license` of a row comes first."""
    encoding: Encoding = "utf-8"
    """What the files are written in (windows-1252, utf-16, gb18030); never guessed. A byte-order mark is taken off."""
    document: Literal["file", "paragraph", "line"] = "file"
    """What of a plain text is a document: all of it, its paragraphs (between empty lines), or its lines."""
    format: plugin_of(_ROOM) | None = None  # type: ignore[valid-type]
    """Format of all files, whatever their names say, with its options: ``{type: csv, delimiter: ";"}``."""
    chat: Annotated[str, Field(min_length=1)] | None = None
    """The text field holds chat messages, {role, content} each. `plain`: `role: content`, apart by empty lines; else
    the folder or hub name of a tokenizer, whose chat template makes the text. null: a text."""
    skip_bad: Annotated[int, Field(ge=0)] = 0
    """Files that may be damaged, or in another encoding: they are left out from the damage on, and told. One more stops
    the build."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:
        """Files by name, rows in their order.

        Raises:
            CorpusError: nothing there, not readable, not in its encoding, a damaged file.
        """
        files = self.found(language).files
        bad = 0
        for file, name in zip(files, short_names(files), strict=True):
            try:
                yield from self._of_file(file, name, lost)
            except _StoppedError as error:
                raise error.cause from None
            except CorpusError as error:
                bad += 1
                if bad > self.skip_bad:
                    raise _told(error, bad, self.skip_bad) from None
                lost(BadFileError(error.what, error.where, error.fix))

    def fingerprint(self, language: str) -> str:
        """Names and content of the files, and the versions of formats that read them otherwise than once."""
        files = self.found(language).files
        read = {type(self._format_of(file)) for file in files}
        versions: list[Any] = sorted((cls.__name__, v) for cls in read if (v := getattr(cls, "version", 1)) != 1)
        versions += template_identity(self.chat) if self.chat else []
        content = files_fingerprint(files)
        return digest([content, versions]) if versions else content

    def found(self, language: str) -> Found:
        """What is read, and what is left out."""
        check_one_split(Path(self.path.replace("{language}", language)).expanduser())
        if self.suffixes != _SUFFIXES:
            return find(self.path, language, self.suffixes, plain=True)
        if self.format is not None:
            return find(self.path, language, build(_ROOM, self.format).suffixes, also=("*",), plain=True)
        return find(self.path, language, self.suffixes, also=tuple(_formats()), plain=True)

    def fields(self, language: str) -> list[str]:
        """Names of the fields of the first rows, of those inside of others with the path that leads there; empty where
        the files are texts.

        Raises:
            CorpusError: nothing there, not readable, not in its encoding, a damaged file.
        """
        file = self.found(language).files[0]
        rows = self._format_of(file).rows(file, Reading(self.encoding, self.document), lambda _: None)
        first = (row for _, row in islice(rows, _FIRST) if not isinstance(row, str))
        return list(dict.fromkeys(name for row in first for name in names(row)))

    def _of_file(self, file: Path, name: str, lost: Lost) -> Iterator[Document]:
        told = _passing(lost)
        fields = Fields(
            "files", self.text_field, self.id_field, self.title_field, self.work_field, self.licence, self.chat
        )
        reading = Reading(self.encoding, self.document, fields.columns, fields.needed)
        for number, row in self._format_of(file).rows(file, reading, told):
            place = f"{name}:{number}"
            if isinstance(row, str):
                whole = number == WHOLE
                yield Document(name if whole else place, _stem(file) if whole else "", row, "files", self.licence)
                continue
            try:
                document = fields.document(row, place, f"{file}, row {number}")
            except CorpusError as error:
                told(error)
                continue
            yield document

    def _format_of(self, file: Path) -> Format:
        made: Format = (
            build(_ROOM, self.format) if self.format else _formats().get(inner_suffix(file), _formats()[".txt"])
        )
        return made


@cache
def _formats() -> dict[str, Format]:
    """Formats that ship, by the endings of their files."""
    made = [plugins.create(_ROOM, name, {}) for name in plugins.available(_ROOM)]
    return {suffix: each for each in made for suffix in each.suffixes}


def _stem(file: Path) -> str:
    return written(file.name[: -len(suffix_of(file)) or None])


class _StoppedError(Exception):
    """What :data:`Lost` raised: the end of the build, and not of a file."""

    def __init__(self, cause: CorpusError) -> None:
        super().__init__(cause)
        self.cause = cause


def _passing(lost: Lost) -> Lost:
    def told(error: CorpusError) -> None:
        try:
            lost(error)
        except CorpusError as cause:
            raise _StoppedError(cause) from None

    return told


def _told(error: CorpusError, bad: int, allowed: int) -> CorpusError:
    """The error of the first bad file that may not be left out."""
    if not allowed:
        return error
    return CorpusError(
        f"{error.what}; this is bad file number {bad}, and skip_bad allows {allowed}",
        where=error.where,
        fix=f"{error.fix}; or set the source's skip_bad higher",
    )
