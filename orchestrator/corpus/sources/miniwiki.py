"""The embedded sample corpus: 120 encyclopedic articles in English, French and German, CC0."""

from __future__ import annotations

import bz2
import json
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from orchestrator.corpus.document import Document, Lost, refuse
from orchestrator.data.miniwiki import FOLDER
from orchestrator.errors import CorpusError


@dataclass(frozen=True)
class Miniwiki:
    """Articles that are parallel by id, though not sentence by sentence."""

    language: str | None = None
    """Language of the articles (en, fr, de); null: the recipe's."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:  # noqa: ARG002 (all are whole)
        """The articles in order of their ids.

        Raises:
            CorpusError: the language is not among the three.
        """
        for line in self._content(language).splitlines():
            row = json.loads(line)
            yield Document(row["article_id"], row["title"], row["text"], "miniwiki", "CC0-1.0")

    def fingerprint(self, language: str) -> str:
        """Hash of the content: it does not change with the place of installation."""
        return str(xxhash.xxh3_128_hexdigest(self._content(language)))

    def found(self, language: str) -> None:
        """None: the articles are part of the package."""

    def _content(self, language: str) -> bytes:
        """The articles as JSON lines: a clone has them readable, the wheel compressed."""
        name = f"miniwiki.{self.language or language}.jsonl"
        if (FOLDER / name).is_file():
            return (FOLDER / name).read_bytes()
        if (FOLDER / f"{name}.bz2").is_file():
            return bz2.decompress((FOLDER / f"{name}.bz2").read_bytes())
        known = ", ".join(sorted(path.suffixes[0][1:] for path in FOLDER.glob("miniwiki.*.jsonl*")))
        raise CorpusError(
            f"miniwiki has no language {self.language or language!r}",
            where="source miniwiki",
            fix=f"set its option `language` to one of: {known}; or use another source",
        )
