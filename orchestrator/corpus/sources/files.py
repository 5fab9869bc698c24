"""Your own files: plain text, JSON lines or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.corpus.document import Document
from orchestrator.corpus.sources._files import (
    field,
    files_fingerprint,
    find_files,
    read_json_lines,
    read_parquet,
    read_text,
    short_names,
)

_IDS = ("article_id", "id")


@dataclass(frozen=True)
class Files:
    """A file, a folder or a glob. ``.jsonl`` and ``.parquet`` hold a document a row; any other file is one document."""

    path: str
    """File, folder (every depth) or glob; ``{language}`` in it stands for the language."""
    text_field: str = "text"
    """Field of the text."""
    id_field: str | None = None
    """Field of the document's id; null: `article_id` or `id` where there is one, else file and row."""
    title_field: str = "title"
    """Field of the title; documents may lack it."""
    suffixes: tuple[str, ...] = (".txt", ".md", ".jsonl", ".parquet", ".py")
    """Endings of the files read from a folder."""
    licence: str = ""
    """Licence of the texts, kept with them; a field `licence` or `license` of a row comes first."""

    def documents(self, language: str) -> Iterator[Document]:
        """Files by name, rows in their order.

        Raises:
            CorpusError: nothing there, not readable, not UTF-8, a damaged file, or a row without the text or id field.
        """
        files = find_files(self.path, language, self.suffixes)
        names = short_names(files)
        for file, name in zip(files, names, strict=True):
            if file.suffix.lower() not in (".jsonl", ".parquet"):
                yield Document(name, file.stem, read_text(file), "files", self.licence)
                continue
            for number, row in _rows(file):
                yield self._document(row, f"{name}:{number}", f"{file}, row {number}")

    def fingerprint(self, language: str) -> str:
        """Names and content of the files."""
        return files_fingerprint(find_files(self.path, language, self.suffixes))

    def _document(self, row: dict[str, Any], place: str, where: str) -> Document:
        text = field(row, self.text_field, where)
        if self.id_field is not None and row.get(self.id_field) is None:
            field(row, self.id_field, where)
        ids = (row[key] for key in ((self.id_field,) if self.id_field else _IDS) if row.get(key) is not None)
        licence = row.get("licence") or row.get("license") or self.licence
        return Document(str(next(ids, place)), str(row.get(self.title_field) or ""), text, "files", str(licence))


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return read_json_lines(file) if file.suffix.lower() == ".jsonl" else enumerate(read_parquet(file), start=1)
