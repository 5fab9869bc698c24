"""What a source yields, and what a source is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

from orchestrator.errors import CorpusError

if TYPE_CHECKING:
    from orchestrator.corpus.reading.finding import Found


@dataclass(frozen=True, slots=True)
class Document:
    """One text of one language.

    Attributes:
        id: name within its source. Equal in every language for the same article.
        title: for people; may be empty.
        text: the text, any Unicode.
        source: name of the plug-in it came from.
        licence: SPDX identifier or the source's own words; "" where it is not known.
        work: name of the larger work that it is part of (a novel, a repository), the same in every language: the parts
            of one work land in the same split, and are no independent samples of text. "": it is a work by itself.
    """

    id: str
    title: str
    text: str
    source: str
    licence: str
    work: str = ""


class BadFileError(CorpusError):
    """Why a file was left out from some place on."""


Lost = Callable[[CorpusError], None]
"""Told why a row is no document, or (:class:`BadFileError`) why a file was left; raises where none may be left out."""


def refuse(error: CorpusError) -> NoReturn:
    """The :data:`Lost` that leaves out no row.

    Raises:
        CorpusError: always.
    """
    raise error


class Source(Protocol):
    """The contract of a plug-in in ``corpus.sources``: a frozen dataclass, cheap to build, that reads when asked to."""

    @abstractmethod
    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:
        """The documents in the source's own order, the same at every call.

        Args:
            language: the recipe's name for the language ("en", "py").
            lost: told of rows that are no documents (without a text, or with one that is not UTF-8), which are left
                out unless it raises.

        Raises:
            CorpusError: missing, empty, damaged, not UTF-8, or it does not have this language.
            ResourceError: a package or a hub that it needs can't be reached.
        """
        ...

    @abstractmethod
    def fingerprint(self, language: str) -> str:
        """A cheap identity of what `documents` would yield: it changes when the source's files do.

        Raises:
            CorpusError: there is nothing to read.
        """
        ...

    def found(self, language: str) -> Found | None:  # noqa: ARG002
        """The local files that `documents` reads, and what lies beside them unread; None: it reads no such files.

        Raises:
            CorpusError: there is nothing to read.
        """
        return None
