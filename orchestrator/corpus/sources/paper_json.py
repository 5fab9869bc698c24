"""The JSON layout of the paper's dataset creator: one file a split, a list of {language: article}."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from orchestrator.corpus.document import Document, Lost, refuse
from orchestrator.corpus.reading.fields import field, optional
from orchestrator.corpus.reading.files import files_fingerprint, short_names
from orchestrator.corpus.reading.finding import Found, find, suffix_of
from orchestrator.corpus.reading.json_values import read_json
from orchestrator.corpus.sources._markers import plain_text
from orchestrator.errors import CorpusError

_IDS = ("wikidata_id", "article_id", "id")


@dataclass(frozen=True)
class PaperJson:
    """Articles of one language out of the list; an article is its text or an object with `text` and an id."""

    located: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    """File, folder or glob of .json files."""
    language: str | None = None
    """Key of the language in the entries; null: the recipe's."""
    licence: str = ""
    """Licence of the texts, for articles that don't name theirs."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:
        """Articles in the order of the list; those without an id are named by their place in it.

        Raises:
            CorpusError: not readable, not such a list, or no entry has the language.
        """
        key, present = self.language or language, False
        files = self.found(language).files
        for file, short in zip(files, short_names(files), strict=True):
            for number, entry in read_json(file):
                where = f"{file}, entry {number}"
                if not isinstance(entry, dict):
                    fix = "the layout is a list of such objects"
                    raise CorpusError("an entry is not an object {language: article}", where, fix)
                if key not in entry:
                    continue
                present = True
                try:
                    document = _document(
                        entry[key], f"{short[: -len(suffix_of(file))]}:{number - 1}", self.licence, where
                    )
                except CorpusError as error:
                    lost(error)
                    continue
                yield document
        if not present:
            raise CorpusError(
                f"no entry has the language {key!r}", where=str(files[0]), fix="set the option `language`"
            )

    def fingerprint(self, language: str) -> str:
        """Names and content of the files."""
        return files_fingerprint(self.found(language).files)

    def found(self, language: str) -> Found:
        """The .json files."""
        return find(self.path, language, (".json",))


def _document(article: Any, place: str, licence: str, where: str) -> Document:
    fields = {"text": article} if isinstance(article, str) else article
    if not isinstance(fields, dict):
        raise CorpusError("an article has no text", where=where, fix='write a text or {"id": …, "text": …}')
    title, text = optional(fields, "title"), field(fields, "text", where)
    if "_START_" in text:
        marked_title, text = plain_text(text)
        title = title or marked_title
    source, licence = optional(fields, "source") or "paper_json", optional(fields, "licence") or licence
    return Document(optional(fields, *_IDS) or place, title, text, source, licence, optional(fields, "work"))
