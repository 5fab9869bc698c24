"""Any data set of the Hugging Face hub, or that the package datasets loads from this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.artifacts import digest
from orchestrator.corpus.document import Document, Lost, refuse
from orchestrator.corpus.reading.chat import template_identity
from orchestrator.corpus.reading.files import files_fingerprint
from orchestrator.corpus.reading.finding import Found, find
from orchestrator.corpus.sources._documents import Fields
from orchestrator.corpus.sources._hub import rows_of, stream
from orchestrator.errors import CorpusError


@dataclass(frozen=True)
class Hub:
    """A document a row of one split, streamed. Fields are named as for `files`. Code of a data set is never run."""

    located: ClassVar[tuple[str, ...]] = ("path",)

    name: Annotated[str, Field(min_length=1)] | None = None
    """Of the data set: ``HuggingFaceFW/fineweb-2``; null: `path` says where it lies."""
    config: str | None = None
    """Configuration of the data set, often a language; ``{language}`` in it stands for the language. null: the only
    one."""
    split: str = "train"
    """Split of the data set; to use its own three, give the source three times."""
    revision: str | None = None
    """Commit of the hub repository; null: its newest."""
    path: str | None = None
    """A folder to read in place of the hub: of data files as repositories have them, or saved by ``save_to_disk``.
    ``{language}`` in it stands for the language."""
    text_field: str | Annotated[tuple[str, ...], Field(min_length=1)] = "text"
    """Field of the text; ``a.b`` is field `b` of the field `a`. Several: their texts, apart by an empty line."""
    id_field: str | None = None
    """Field of the document's id; null: `article_id` or `id` where there is one, else the row's number."""
    title_field: str = "title"
    """Field of the title; documents may lack it."""
    work_field: str = "work"
    """Field of the work that a document is part of, whose parts stay in one split; documents may lack it."""
    licence: str = ""
    """Licence of the texts, kept with them; a field `licence` or `license` of a row comes first."""
    chat: Annotated[str, Field(min_length=1)] | None = None
    """The text field holds chat messages, {role, content} each. `plain`: `role: content`, apart by empty lines; else
    the folder or hub name of a tokenizer, whose chat template makes the text. null: a text."""

    def __post_init__(self) -> None:
        if (self.name is None) == (self.path is None):
            raise ValueError("give the name of a data set, or the path of a folder")

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:
        """Rows in their order.

        Raises:
            CorpusError: `path` has nothing to read.
            ResourceError: no package datasets, no hub, no such data set, configuration or split.
        """
        fields = Fields(
            "hub", self.text_field, self.id_field, self.title_field, self.work_field, self.licence, self.chat
        )
        place = self._place(language)
        for number, row in enumerate(self._rows(language, place, fields), start=1):
            try:
                document = fields.document(row, f"{self._called(language)}:{number}", f"{place}, row {number}")
            except CorpusError as error:
                lost(error)
                continue
            yield document

    def fingerprint(self, language: str) -> str:
        """The hub's revision as given, or the content of the folder's files."""
        found = self.found(language)
        content = self._called(language) if found is None else files_fingerprint(found.files)
        template = template_identity(self.chat) if self.chat else []
        return digest([content, template]) if template else content

    def found(self, language: str) -> Found | None:
        """The folder's files."""
        return None if self.path is None else find(self.path, language)

    def _rows(self, language: str, place: str, fields: Fields) -> Iterator[dict[str, Any]]:
        options: dict[str, Any] = {
            "name": self._config(language),
            "split": self.split,
            "columns": (fields.columns, fields.needed),
        }
        if self.path is not None:
            self.found(language)
            return rows_of(Path(place), **options)
        local = "go online, or download the data set's files and give their folder as `path`"
        return stream(place, revision=self.revision, local=local, **options)

    def _place(self, language: str) -> str:
        if self.path is None:
            return str(self.name)
        return str(Path(self.path.replace("{language}", language)).expanduser())

    def _config(self, language: str) -> str | None:
        return None if self.config is None else self.config.replace("{language}", language)

    def _called(self, language: str) -> str:
        name = "" if self.name is None else f"@{self.revision or 'main'}"
        return "/".join(filter(None, (self.name, self._config(language), self.split))) + name
