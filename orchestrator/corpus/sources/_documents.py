"""From rows to documents, by the names of their fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.corpus.document import Document
from orchestrator.corpus.reading.chat import rendered
from orchestrator.corpus.reading.contract import Row
from orchestrator.corpus.reading.fields import field, has, optional, top, value_of

_IDS = ("article_id", "id")
_LICENCES = ("licence", "license")


@dataclass(frozen=True)
class Fields:
    """Which fields of a row are a document's; see the options of :class:`~orchestrator.corpus.sources.files.Files`."""

    source: str
    text: str | Sequence[str]
    id: str | None
    title: str
    work: str
    licence: str
    chat: str | None = None

    @classmethod
    def of(cls, options: Any, source: str) -> Fields:
        """As the options of a source name them."""
        names = (options.text_field, options.id_field, options.title_field, options.work_field)
        return cls(source, *names, options.licence, options.chat)

    @property
    def needed(self) -> tuple[str, ...]:
        """Fields of which a row has one at least."""
        return tuple(each for name in self._texts for each in top(name))

    @property
    def columns(self) -> tuple[str, ...]:
        """All fields that are of use."""
        others = (*((self.id,) if self.id else _IDS), self.title, self.work)
        return (*self.needed, *(each for name in others for each in top(name)), *_LICENCES)

    def document(self, row: Row, place: str, where: str) -> Document:
        """The document of a row; `place` is its id where it has none.

        Raises:
            CorpusError: no text.
        """
        text = self._text(row, where)
        if self.id is not None and not optional(row, self.id):
            field(row, self.id, where, "id_field")
        name = optional(row, *((self.id,) if self.id else _IDS)) or place
        licence = optional(row, *_LICENCES) or self.licence
        return Document(name, optional(row, self.title), text, self.source, licence, optional(row, self.work))

    def _text(self, row: Row, where: str) -> str:
        there = [name for name in self._texts if has(row, name)] or [self._texts[0]]
        if len(self._texts) == 1:
            return self._of(row, there[0], where)
        return "\n\n".join(text for name in there if (text := self._of(row, name, where)))

    def _of(self, row: Row, name: str, where: str) -> str:
        if self.chat is not None and has(row, name) and not isinstance(value := value_of(row, name), str | bytes):
            return rendered(value, self.chat, where)
        return field(row, name, where, "text_field")

    @property
    def _texts(self) -> tuple[str, ...]:
        return (self.text,) if isinstance(self.text, str) else tuple(self.text)
