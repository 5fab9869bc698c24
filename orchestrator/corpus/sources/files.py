"""Your own files: plain text, JSON or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.corpus.document import Document, Lost, refuse
from orchestrator.corpus.sources._files import files_fingerprint, read_text, short_names, written
from orchestrator.corpus.sources._finding import GZIP, Found, find, suffix_of
from orchestrator.corpus.sources._rows import Row, field, optional, read_json_lines, read_objects, read_parquet
from orchestrator.errors import CorpusError

_IDS = ("article_id", "id")


@dataclass(frozen=True)
class Files:
    """A file, a folder or a glob. ``.jsonl``, ``.ndjson``, ``.json`` and ``.parquet`` hold a document a row; any other
    file is one document. All but Parquet may be compressed by gzip (``.jsonl.gz``).
    """

    located: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    """File, folder (every depth) or glob; ``{language}`` in it stands for the language."""
    text_field: str = "text"
    """Field of the text."""
    id_field: str | None = None
    """Field of the document's id; null: `article_id` or `id` where there is one, else file and row."""
    title_field: str = "title"
    """Field of the title; documents may lack it."""
    work_field: str = "work"
    """Field of the work that a document is part of, whose parts stay in one split; documents may lack it."""
    suffixes: tuple[str, ...] = (".txt", ".md", ".jsonl", ".ndjson", ".json", ".parquet", ".py")
    """Endings of the files that are read, also followed by ``.gz``; any that is added is read as plain text. Other
    files of a folder are left out and counted, one that `path` names is refused."""
    licence: str = ""
    """Licence of the texts, kept with them; a field `licence` or `license` of a row comes first."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:
        """Files by name, rows in their order.

        Raises:
            CorpusError: nothing there, not readable, not UTF-8, a damaged file.
        """
        files = self.found(language).files
        for file, name in zip(files, short_names(files), strict=True):
            rows = _rows(file, lost)
            if rows is None:
                title = written(file.name[: -len(suffix_of(file))] if suffix_of(file) else file.name)
                yield Document(name, title, read_text(file), "files", self.licence)
                continue
            for number, row in rows:
                try:
                    document = self._document(row, f"{name}:{number}", f"{file}, row {number}")
                except CorpusError as error:
                    lost(error)
                    continue
                yield document

    def fingerprint(self, language: str) -> str:
        """Names and content of the files."""
        return files_fingerprint(self.found(language).files)

    def found(self, language: str) -> Found:
        """What is read, and what is left out."""
        return find(self.path, language, self.suffixes, plain=True)

    def _document(self, row: Row, place: str, where: str) -> Document:
        text = field(row, self.text_field, where)
        if self.id_field is not None and not optional(row, self.id_field):
            field(row, self.id_field, where)
        name = optional(row, *((self.id_field,) if self.id_field else _IDS)) or place
        licence = optional(row, "licence", "license") or self.licence
        return Document(name, optional(row, self.title_field), text, "files", licence, optional(row, self.work_field))


def _rows(file: Path, lost: Lost) -> Iterator[tuple[int, Row]] | None:
    """Numbered rows; None: the file is one document."""
    match suffix_of(file).removesuffix(GZIP):
        case ".jsonl" | ".ndjson":
            return read_json_lines(file, lost)
        case ".json":
            return read_objects(file, lost)
        case ".parquet":
            return read_parquet(file, lost=lost)
    return None
