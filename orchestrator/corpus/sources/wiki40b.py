"""Wiki-40B: cleaned Wikipedia in forty languages (Guo et al., LREC 2020; paper section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orchestrator.corpus.document import Document
from orchestrator.corpus.sources._files import field, files_fingerprint, find_files, read_parquet
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
    path: str | None = None
    """Read Parquet files of the same fields (wikidata_id, text) from here instead of the hub."""

    def documents(self, language: str) -> Iterator[Document]:
        """Articles with their markers turned into paragraphs.

        Raises:
            CorpusError: Wiki-40B does not have the language, or the local files can't be read.
            ResourceError: no hub and no `path`.
        """
        for number, row in enumerate(self._rows(language)):
            where = f"{self.path or _REPOSITORY}, row {number}"
            title, text = plain_text(_decoded(field(row, "text", where)))
            name = _decoded(field(row, "wikidata_id", where))
            yield Document(name, title, text, "wiki40b", "CC-BY-SA-3.0")

    def fingerprint(self, language: str) -> str:
        """The local files, or the hub's revision as given."""
        if self.path is not None:
            return files_fingerprint(find_files(self.path, language, (".parquet",)))
        return f"{_REPOSITORY}/{self._edition(language)}/{self.split}@{self.revision or 'main'}"

    def _rows(self, language: str) -> Iterator[dict[str, object]]:
        if self.path is not None:
            for file in find_files(self.path, language, (".parquet",)):
                yield from read_parquet(file, ("wikidata_id", "text"))
            return
        local = "go online, or download the language's Parquet files and give them as `path`"
        yield from stream(
            _REPOSITORY, name=self._edition(language), split=self.split, revision=self.revision, local=local
        )

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
