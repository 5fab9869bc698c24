"""Wiki-40B: cleaned Wikipedia in forty languages (Guo et al., LREC 2020; paper section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from orchestrator.corpus.document import Document, Lost, refuse
from orchestrator.corpus.reading.fields import field
from orchestrator.corpus.reading.files import files_fingerprint
from orchestrator.corpus.reading.finding import Found, find
from orchestrator.corpus.reading.tables import read_parquet
from orchestrator.corpus.sources._hub import stream
from orchestrator.corpus.sources._markers import plain_text
from orchestrator.errors import CorpusError

_LANGUAGES = (
    "ar bg ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru sk sl sr sv th tl tr uk "
    "vi zh-cn zh-tw"
)
_REPOSITORY = "google/wiki40b"
_BYTES_LITERAL = re.compile(r"""b(['"])(.*)\1""", re.DOTALL)


@dataclass(frozen=True)
class Wiki40b:
    """Articles of one language; the article's id is its Wikidata id, the same in every language."""

    language: str | None = None
    """Wikipedia's name of the language ("zh-cn"); null: the recipe's."""
    split: Literal["train", "validation", "test"] = "train"
    """Split of the data set; to use its own three, give the source three times."""
    revision: str | None = None
    """Commit of the hub repository; null: its newest."""
    located: ClassVar[tuple[str, ...]] = ("path",)

    path: str | None = None
    """Read Parquet files of the same fields (wikidata_id, text) from here instead of the hub."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:
        """Articles with their markers turned into paragraphs.

        Raises:
            CorpusError: Wiki-40B does not have the language, or the local files can't be read.
            ResourceError: no hub and no `path`.
        """
        for where, row in self._rows(language, lost):
            try:
                title, text = plain_text(_decoded(field(row, "text", where)))
                name = _decoded(field(row, "wikidata_id", where))
            except CorpusError as error:
                lost(error)
                continue
            yield Document(name, title, text, "wiki40b", "CC-BY-SA-3.0")

    def fingerprint(self, language: str) -> str:
        """The local files, or the hub's revision as given."""
        found = self.found(language)
        if found is not None:
            return files_fingerprint(found.files)
        return f"{_REPOSITORY}/{self._edition(language)}/{self.split}@{self.revision or 'main'}"

    def found(self, language: str) -> Found | None:
        """Local Parquet files."""
        return None if self.path is None else find(self.path, language, (".parquet",))

    def _rows(self, language: str, lost: Lost) -> Iterator[tuple[str, dict[str, Any]]]:
        """(place, row)."""
        found, columns = self.found(language), ("wikidata_id", "text")
        if found is not None:
            for file in found.files:
                yield from ((f"{file}, row {number}", row) for number, row in read_parquet(file, columns, lost))
            return
        local = "go online, or download the language's Parquet files and give them as `path`"
        edition = self._edition(language)
        rows = stream(_REPOSITORY, name=edition, split=self.split, revision=self.revision, local=local)
        yield from ((f"{_REPOSITORY}, row {number}", row) for number, row in enumerate(rows, start=1))

    def _edition(self, language: str) -> str:
        edition = self.language or language
        if edition not in _LANGUAGES.split():
            raise CorpusError(
                f"Wiki-40B has no language {edition!r}",
                where="source wiki40b",
                fix=f"set its option `language` to one of: {_LANGUAGES}",
            )
        return edition


def _decoded(value: str) -> str:
    """Some exports of the data set hold the printed form of byte strings, ``b'…'``, in place of the text."""
    literal = _BYTES_LITERAL.fullmatch(value)
    if literal is None:
        return value
    try:
        return (
            literal[2].encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1").decode("utf-8")
        )
    except UnicodeError:
        return value  # no bytes that were printed: a text that looks like them
