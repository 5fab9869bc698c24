"""Splits by work: a seeded hash of its name decides, so an article lands in the same split in every language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import xxhash

from orchestrator.config.recipe import SplitConfig
from orchestrator.corpus.deduplication import U64
from orchestrator.corpus.document import Document
from orchestrator.errors import CorpusError

SPLITS = ("train", "validation", "test")
Codes = npt.NDArray[np.int8]
"""Index into SPLITS of each document."""


def work_hash(document: Document, seed: int) -> int:
    """64-bit hash of the work a document is part of, or of its id where it is a work by itself."""
    return int(xxhash.xxh3_64_intdigest((document.work or document.id).encode(), seed=seed))


def assign(works: Mapping[str, U64], shares: SplitConfig) -> dict[str, Codes]:
    """The split of every document of every language.

    Languages that have works in common are split together. Works are ranked by hash; the first ones, as many as hold
    the test share of the documents, are for testing, the next for validation, the rest for training. The counts are
    exact where a work is one document, and at least one.

    Args:
        works: `work_hash` of each document, by language.

    Raises:
        CorpusError: a language with too few works for three splits.
    """
    codes: dict[str, Codes] = {}
    for group in _related(works):
        together = np.concatenate([works[language] for language in group])
        ranked, counts = np.unique(together, return_counts=True)
        of_rank = _splits_of_ranks(counts, shares)
        for language in group:
            codes[language] = of_rank[np.searchsorted(ranked, works[language])]
    for language, assigned in codes.items():
        check_splits(language, assigned, len(np.unique(works[language])))
    return codes


def check_splits(language: str, codes: Codes, works: int) -> None:
    """Every split holds a document.

    Args:
        language: whose documents they are.
        codes: of each of them.
        works: how many works they are of.

    Raises:
        CorpusError: one does not.
    """
    empty = [name for code, name in enumerate(SPLITS) if not (codes == code).any()]
    if empty:
        raise CorpusError(
            f"too little text to split: {_counted(len(codes), works)} leave none for {' and '.join(empty)}",
            where=f"corpus.languages.{language}",
            fix="add text, give validation and test sources, or change corpus.splits"
            + (" (documents with the same work, or the same id, are not parted)" if works < len(codes) else "")
            + (
                "; a file of text is one document: `document: line` or `paragraph` of `files` parts it"
                * (len(codes) < 3)
            ),
        )


def _counted(documents: int, works: int) -> str:
    told = f"{documents:,} document{'s' * (documents != 1)}"
    return told if works == documents else f"{told} of {works:,} work{'s' * (works != 1)}"


def common_to_all(ids: Iterable[U64]) -> U64:
    """Hashes of the ids that every language has."""
    common: U64 | None = None
    for of_language in ids:
        common = np.unique(of_language) if common is None else np.intersect1d(common, of_language)
    return np.empty(0, np.uint64) if common is None else common


def _splits_of_ranks(counts: npt.NDArray[np.int64], shares: SplitConfig) -> Codes:
    before = np.cumsum(counts) - counts
    total = int(counts.sum())
    test = max(1, round(total * shares.test))
    validation = max(1, round(total * shares.validation))
    while test + validation >= total and max(test, validation) > 1:  # both were rounded up: train keeps a document
        test, validation = (test, validation - 1) if validation >= test else (test - 1, validation)
    codes = np.full(len(counts), SPLITS.index("train"), np.int8)
    first = int(np.searchsorted(before, test))  # works that begin before the test share is full
    second = int(np.searchsorted(before, before[first] + validation)) if first < len(counts) else first
    codes[:first] = SPLITS.index("test")
    codes[first:second] = SPLITS.index("validation")
    return codes


def _related(works: Mapping[str, U64]) -> list[list[str]]:
    """Groups of languages linked by common works."""
    groups: list[list[str]] = []
    for language in works:
        linked = [g for g in groups if any(len(np.intersect1d(works[language], works[other])) for other in g)]
        groups = [g for g in groups if g not in linked] + [[name for g in linked for name in g] + [language]]
    return groups
