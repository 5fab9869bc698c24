"""What a source yields, and what a source is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Document:
    """One text of one language.

    Attributes:
        id: name within its source. Equal in every language for the same article; a part of a larger work is
            ``work#part``, and the parts of one work land in the same split.
        title: for people; may be empty.
        text: the text, any Unicode.
        source: name of the plug-in it came from.
        licence: SPDX identifier or the source's own words; "" where it is not known.
    """

    id: str
    title: str
    text: str
    source: str
    licence: str


class Source(Protocol):
    """The contract of a plug-in in ``corpus.sources``: a frozen dataclass, cheap to build, that reads when asked to."""

    def documents(self, language: str) -> Iterator[Document]:
        """The documents in the source's own order, the same at every call.

        Args:
            language: the recipe's name for the language ("en", "py").

        Raises:
            CorpusError: missing, empty, damaged, not UTF-8, or it does not have this language.
            ResourceError: a package or a hub that it needs can't be reached.
        """
        ...

    def fingerprint(self, language: str) -> str:
        """A cheap identity of what `documents` would yield: it changes when the source's files do.

        Raises:
            CorpusError: there is nothing to read.
        """
        ...
