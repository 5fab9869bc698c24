"""The JSON layout of the paper's dataset creator: one file a split, a list of {language: article}."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.corpus.document import Document
from orchestrator.corpus.sources._files import files_fingerprint, find_files, readable
from orchestrator.corpus.sources._markers import plain_text
from orchestrator.errors import CorpusError

_IDS = ("wikidata_id", "article_id", "id")
_READ = 1 << 20  # characters of the file in memory beside the current entry


@dataclass(frozen=True)
class PaperJson:
    """Articles of one language out of the list; an article is its text or an object with `text` and an id."""

    path: str
    """File, folder or glob of .json files."""
    language: str | None = None
    """Key of the language in the entries; null: the recipe's."""
    licence: str = ""
    """Licence of the texts, for articles that don't name theirs."""

    def documents(self, language: str) -> Iterator[Document]:
        """Articles in the order of the list; those without an id are named by their place in it.

        Raises:
            CorpusError: not readable, not such a list, or no entry has the language.
        """
        key = self.language or language
        files = find_files(self.path, language, (".json",))
        found = False
        for file in files:
            for number, entry in enumerate(_entries(file)):
                where = f"{file}, entry {number}"
                if not isinstance(entry, dict):
                    raise CorpusError("an entry is not an object {language: article}", where=where)
                if key in entry:
                    found = True
                    yield _document(entry[key], f"{file.stem}:{number}", self.licence, where)
        if not found:
            raise CorpusError(
                f"no entry has the language {key!r}", where=str(files[0]), fix="set the option `language`"
            )

    def fingerprint(self, language: str) -> str:
        """Names and content of the files."""
        return files_fingerprint(find_files(self.path, language, (".json",)))


def _document(article: Any, place: str, licence: str, where: str) -> Document:
    fields = {"text": article} if isinstance(article, str) else article
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        raise CorpusError("an article has no text", where=where, fix='write a text or {"id": …, "text": …}')
    title, text = str(fields.get("title") or ""), fields["text"]
    if "_START_" in text:
        marked_title, text = plain_text(text)
        title = title or marked_title
    name = next((str(fields[key]) for key in _IDS if fields.get(key)), place)
    return Document(name, title, text, str(fields.get("source") or "paper_json"), str(fields.get("licence") or licence))


def _entries(file: Path) -> Iterator[Any]:
    """Elements of a JSON list, one in memory at a time."""
    decoder = json.JSONDecoder()
    try:
        with readable(file), file.open(encoding="utf-8-sig") as stream:
            buffer = stream.read(_READ).lstrip()
            if not buffer.startswith("["):
                raise _damaged(file, "it does not begin with a list")
            buffer, done = buffer[1:], False
            while True:
                buffer = buffer.lstrip(" \t\r\n,")
                if buffer.startswith("]"):
                    return
                try:
                    value, end = decoder.raw_decode(buffer)
                except json.JSONDecodeError as error:
                    # Either damaged or an entry longer than what was read: the file's end tells.
                    if done:
                        raise _damaged(file, error.msg) from None
                    more = stream.read(max(_READ, len(buffer)))
                    buffer, done = buffer + more, not more
                    continue
                yield value
                buffer = buffer[end:]
    except UnicodeDecodeError as error:
        raise CorpusError(
            "the file is not UTF-8", where=f"{file}: {error.reason}", fix="convert it with iconv"
        ) from None


def _damaged(file: Path, problem: str) -> CorpusError:
    return CorpusError(f"not a JSON list of {{language: article}}: {problem}", where=str(file))
