"""The heuristics of C4 (Raffel et al., JMLR 2020, section 2.2), for any language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from orchestrator.corpus.filters._words import word_count, words_of
from orchestrator.corpus.judging import Filter, Verdict
from orchestrator.routers.text.tags import NATURAL, tags

_ENDS = (
    ".!?…\"'”’»“)\u3002\uff01\uff1f\u300d\u300f\uff0e\u0964\u0965\u06d4\u061f\u2026\u055d\u055e\u0589\u1362\u17d4\u104b"
)
"""Characters that end a sentence, or a quotation after it: Latin, Chinese and Japanese, Indic, Arabic, Armenian,
Ethiopic, Khmer, Burmese."""
_SENTENCE = re.compile(
    "[.!?…\u3002\uff01\uff1f\uff0e\u0964\u06d4\u061f\u0589\u1362\u17d4\u104b]+(?=\\s|$|[^\\x00-\\x7f])"
)
_WITHOUT_MARKS = frozenset(("th", "lo"))
"""Languages that end sentences by a space: neither lines nor sentences can be known by their marks."""


@dataclass(frozen=True)
class C4(Filter):
    """Takes out lines that end in no mark of punctuation, are short, or speak of JavaScript, and drops documents with
    too few sentences, placeholders or braces. Give it several times with `languages` to set languages apart.
    """

    languages: tuple[str, ...] = ()
    """Languages that it is for, by the recipe's names; empty: all prose."""
    punctuation: bool = True
    """Take out lines that end in no mark; never done in Thai and Lao, which end sentences by a space."""
    min_line_words: Annotated[int, Field(ge=0)] = 3
    """Lines with fewer words are taken out."""
    min_sentences: Annotated[int, Field(ge=0)] = 5
    """Documents with fewer sentences are dropped; not in Thai and Lao."""
    placeholders: tuple[str, ...] = ("lorem ipsum",)
    """Documents that hold one of these, in any case, are dropped."""
    braces: bool = True
    """Drop documents that hold a brace: code."""
    policies: tuple[str, ...] = ("javascript", "cookie policy", "privacy policy", "terms of use", "use of cookies")
    """Lines that hold one of these, in any case, are taken out; to add those of a language, give the filter for it."""

    def judge(self, texts: Sequence[str], language: str) -> list[Verdict]:
        """Whole documents are judged first, then their lines, and what is left of them."""
        return [self._verdict(text, language) for text in texts]

    def _verdict(self, text: str, language: str) -> Verdict:
        folded = text.lower()
        if any(phrase in folded for phrase in self.placeholders):
            return Verdict(text, "placeholder")
        if self.braces and "{" in text:
            return Verdict(text, "braces")
        edits: Counter[str] = Counter()
        kept = []
        for line in text.split("\n"):
            if why := self._unfit(line, language):
                edits[why] += 1
            else:
                kept.append(line)
        left = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
        if not left:
            return Verdict(text, "no line left")
        if self._marked(language) and len(_SENTENCE.findall(left)) < self.min_sentences:
            return Verdict(text, "few sentences")
        return Verdict(left, "", edits)

    def _unfit(self, line: str, language: str) -> str:
        """Why a line is taken out; "": it is kept, as empty ones are."""
        if not (plain := line.strip()):
            return ""
        if any(phrase in plain.lower() for phrase in self.policies):
            return "policy"
        if word_count(words_of(plain, language), language) < self.min_line_words:
            return "short line"
        return "no mark at the end" if self.punctuation and self._marked(language) and plain[-1] not in _ENDS else ""

    def _marked(self, language: str) -> bool:
        return not _WITHOUT_MARKS.intersection(tags(language, NATURAL))
