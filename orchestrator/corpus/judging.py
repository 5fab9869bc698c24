"""What a filter is, and what filters did: counted by rule, with samples."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from typing import Any, NamedTuple, Protocol

import xxhash

from orchestrator.config.base import PluginSpec, build
from orchestrator.corpus.document import Document

_SAMPLES, _EXCERPT = 5, 200
"""Dropped documents of a rule that corpus.json shows, and their first characters."""


class Verdict(NamedTuple):
    """What a filter says of a text.

    Attributes:
        text: what is kept of it.
        rule: by which it is dropped; "": it is kept.
        edits: what was taken out of it -> how often.
    """

    text: str
    rule: str = ""
    edits: Mapping[str, int] = {}


class Filter(Protocol):
    """The contract of a plug-in in ``corpus.filters``: a frozen dataclass that judges cleaned documents of prose.

    Attributes:
        languages: those it is for, by the recipe's names; (): all prose.
    """

    languages: tuple[str, ...]

    @abstractmethod
    def judge(self, texts: Sequence[str], language: str) -> list[Verdict]:
        """A verdict on each text, which depends on nothing but the text, the language and the options."""
        ...

    def check(self, language: str) -> str:  # noqa: ARG002
        """Make sure that the filter can judge a language; identity of what it reads beside its options.

        Raises:
            CorpusError: it can't.
        """
        return ""


class Sample(NamedTuple):
    """A dropped document: the hash that chose it, its id and its first characters."""

    order: int
    id: str
    text: str


@dataclass
class Judged:
    """What one filter did.

    Attributes:
        rules: dropped documents by rule.
        edits: what was taken out of documents.
        samples: of the dropped ones, by rule, chosen by hash.
    """

    rules: Counter[str] = field(default_factory=Counter)
    edits: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def add(self, other: Judged) -> None:
        """Add what it did to other documents."""
        self.rules.update(other.rules)
        self.edits.update(other.edits)
        for rule, some in other.samples.items():
            self.samples[rule] = nsmallest(_SAMPLES, [*self.samples.get(rule, ()), *some])

    def drop(self, document: Document, rule: str) -> None:
        """Count a dropped document."""
        self.rules[rule] += 1
        sample = Sample(xxhash.xxh3_64_intdigest(document.id.encode()), document.id, document.text[:_EXCERPT])
        self.samples[rule] = nsmallest(_SAMPLES, [*self.samples.get(rule, ()), sample])

    def record(self) -> dict[str, Any]:
        """As corpus.json has it: "rules", "edits", and "samples", each with "rule", "id" and "text"."""
        samples = [
            {"rule": rule, "id": each.id, "text": each.text}
            for rule, some in sorted(self.samples.items())
            for each in some
        ]
        return {"rules": dict(self.rules.most_common()), "edits": dict(self.edits.most_common()), "samples": samples}


Filters = tuple[tuple[str, Filter], ...]


def filters_of(specs: Iterable[PluginSpec], language: str, kind: str) -> Filters:
    """The filters of a language with their names, in the order of the recipe; none of code."""
    made = [(spec.type, build("corpus.filters", spec)) for spec in specs] if kind == "prose" else []
    return tuple((name, each) for name, each in made if not each.languages or language in each.languages)


def judged(documents: list[Document], filters: Filters, language: str) -> tuple[list[Document], dict[str, Judged]]:
    """The documents that all filters keep, as they keep them, and what each filter did."""
    told: dict[str, Judged] = {}
    for name, each in filters:
        did = told.setdefault(name, Judged())
        kept = []
        for document, verdict in zip(documents, each.judge([d.text for d in documents], language), strict=True):
            did.edits.update(verdict.edits)
            if verdict.rule:
                did.drop(document, verdict.rule)
            else:
                kept.append(document if verdict.text == document.text else replace(document, text=verdict.text))
        documents = kept
    return documents, told
