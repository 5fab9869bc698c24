"""Documents in another language than the one that they stand under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
from pydantic import Field

from orchestrator.corpus.judging import Filter, Verdict
from orchestrator.errors import CorpusError
from orchestrator.routers.text import shipped
from orchestrator.routers.text.languages import identifier
from orchestrator.routers.text.tags import NATURAL, tags


@dataclass(frozen=True)
class Language(Filter):
    """Drops a document where another language is clearly likelier, by the text of a hundred languages that ships.
    Languages that are written much alike (Croatian and Serbian) are seldom told apart. Of others than the hundred it
    knows nothing.
    """

    languages: tuple[str, ...] = ()
    """Languages that it is for, by the recipe's names; empty: all prose."""
    margin: Annotated[float, Field(ge=0)] = 1.0
    """How much likelier the other language is, at least: a logarithm, as a mean over the characters. Of a page that is
    half in each, it is about 0; less drops more."""
    min_characters: Annotated[int, Field(ge=1)] = 40
    """Shorter documents are kept: they say too little."""

    def judge(self, texts: Sequence[str], language: str) -> list[Verdict]:
        """The rule is "in TAG", the likeliest language of a dropped text."""
        known, own = identifier(), _own(language)
        verdicts = [Verdict(text) for text in texts]
        long = [place for place, text in enumerate(texts) if len(text) >= self.min_characters]
        if not long:
            return verdicts
        scores = known.scores([texts[place] for place in long])
        is_own = np.isin(known.tags, own)
        ahead = scores.max(axis=1) - scores[:, is_own].max(axis=1)
        for row in np.flatnonzero(ahead > self.margin):
            verdicts[long[row]] = Verdict(texts[long[row]], f"in {known.tags[scores[row].argmax()]}")
        return verdicts

    def check(self, language: str) -> str:
        """Digest of the text that ships.

        Raises:
            CorpusError: it is not installed, or there is none of that language.
        """
        _own(language)
        return _digest()


@cache
def _own(language: str) -> tuple[str, ...]:
    there = {*shipped.learned(), *shipped.tested()}
    own = tuple(tag for tag in tags(language, NATURAL) if f"{NATURAL}/{tag}" in there)
    if not own:
        raise CorpusError(
            f"the language filter has no text of {language!r} to know it by",
            where=f"corpus.filters, corpus.languages.{language}",
            fix="begin its name with the language's tag (en-law), or leave it out of the filter's `languages`",
        )
    return own


@cache
def _digest() -> str:
    return shipped.digest()
