"""From sources to a corpus: two passes over every language, with memory bounded whatever the size of the text.

The first pass (staging.py) cleans, filters and hashes. Then arrays of hashes decide which documents stay and in which
split. The second pass copies the staged documents to their splits.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.config.base import build
from orchestrator.config.recipe import CorpusConfig, DeduplicationConfig
from orchestrator.corpus.deduplication import Mask, exact_duplicates, near_duplicates
from orchestrator.corpus.inspect import files_told
from orchestrator.corpus.judging import Judged, filters_of
from orchestrator.corpus.splits import SPLITS, Codes, assign, check_splits, common_to_all
from orchestrator.corpus.staging import UNASSIGNED, Log, OrderedMap, Staged, stage
from orchestrator.corpus.storage import TableWriter, split_file
from orchestrator.errors import CorpusError

_EXACT, _NEAR, _UNCOMMON = "exact_duplicates", "near_duplicates", "not_common"
Counts = dict[str, int]


def build_corpus(
    corpus: CorpusConfig, seed: int, out: Path, work: Path, parallel: OrderedMap, log: Log
) -> dict[str, Any]:
    """Write ``<split>/<language>.parquet`` and ``corpus.json`` into `out`, and return what corpus.json holds.

    Args:
        work: a folder for the staged documents: needs room for one more copy of the corpus, removed at the end.
        parallel: the map that cleaning and hashing run through; the result does not depend on it.
        log: takes progress rows.

    Raises:
        CorpusError: a source can't be read, or a language has too little text.
    """
    shutil.rmtree(work, ignore_errors=True)
    progress = _Progress(log)
    staged: list[Staged] = []
    for language in corpus.languages:
        staged.append(stage(language, corpus, seed, work / language, parallel, progress))
        log({"message": f"{language}: {_read(staged[-1])}"})
    removed, splits = decide(staged, corpus)
    summary: dict[str, Any] = {"languages": {}}
    for s in staged:
        counts = _publish(s, splits[s.language], out)
        told = {"files": s.files, "unreadable": s.unreadable, **_judged(s)}
        summary["languages"][s.language] = {"splits": counts, **_removed(s, removed[s.language]), **told}
        log({"message": f"{s.language}: " + ", ".join(f"{counts[n]['documents']:,} {n}" for n in SPLITS)})
    (out / "corpus.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return summary


def decide(staged: list[Staged], corpus: CorpusConfig) -> tuple[dict[str, dict[str, Mask]], dict[str, Codes]]:
    """Which documents are removed and why, and the splits of the others: by arrays of hashes, without the text.

    Raises:
        CorpusError: too little is left.
    """
    removed = {s.language: _duplicates(s, corpus.deduplication) for s in staged}
    if corpus.common_articles:
        _keep_common(staged, removed, [name for name, c in corpus.languages.items() if c.kind == "prose"])
    return removed, _splits(staged, removed, corpus)


def source_fingerprints(corpus: CorpusConfig) -> dict[str, str]:
    """Identity of what lies outside the recipe, by ``language.role``: it changes when a source's files do.

    What filters read beside their options is there by ``language.filter.number``.

    Raises:
        CorpusError: a source is missing, or a filter can't judge a language.
    """
    sources = {
        f"{language}.{role}": build("corpus.sources", spec).fingerprint(language)
        for language, config in corpus.languages.items()
        for role, spec in (("source", config.source), ("validation", config.validation), ("test", config.test))
        if spec is not None
    }
    filters = {
        f"{language}.{name}.{number}": found
        for language, config in corpus.languages.items()
        for number, (name, each) in enumerate(filters_of(corpus.filters, language, config.kind))
        if (found := each.check(language))
    }
    return {**sources, **filters}


def _read(staged: Staged) -> str:
    """What was read and what was not, for the log."""
    filtered, lost = staged.filtered.total() + sum(_dropped(_all(staged)).values()), staged.unreadable
    text = f"read {len(staged.ids):,} documents, filtered out {filtered:,}"
    text += f" ({lost['rows']:,} rows that are no documents: {lost['first']})" if lost["rows"] else ""
    rules = {f"{name}: {rule}": n for name, did in _all(staged).items() for rule, n in did.rules.items()}
    text += f" ({', '.join(f'{rule} {n:,}' for rule, n in rules.items())})" if rules else ""
    bad = [f"a file left out from there on: {file}" for file in lost.get("files", ())]
    return "; ".join([text, *bad, *files_told(staged.files)])


def _duplicates(staged: Staged, rules: DeduplicationConfig) -> dict[str, Mask]:
    """Masks of the documents that repeat an earlier one, by reason; a document has one reason at most."""
    exact = exact_duplicates(staged.keys)
    if not rules.exact:
        # Repeats within a split may stay; what training shares with a held-out split never does.
        exact &= _first_split(staged) != staged.splits
    near = none = np.zeros(len(exact), np.bool_)
    if rules.near is not None:
        near = near_duplicates(staged.signatures(), rules.near, among=np.flatnonzero(~exact))
    return {_EXACT: exact, _NEAR: near, _UNCOMMON: none}


def _first_split(staged: Staged) -> Codes:
    """For every document, the split of the first document with the same text."""
    _, first, inverse = np.unique(staged.keys, return_index=True, return_inverse=True)
    return staged.splits[first[inverse]]


def _keep_common(staged: list[Staged], removed: Mapping[str, dict[str, Mask]], prose: list[str]) -> None:
    affected = [s for s in staged if s.language in prose]
    common = common_to_all(s.ids[_kept(removed[s.language])] for s in affected)
    if not len(common):
        raise CorpusError(
            "no article id is common to all prose languages",
            where="corpus.common_articles",
            fix="use sources whose ids match (wiki40b, miniwiki, files with article_id), or set it to false",
        )
    for s in affected:
        masks = removed[s.language]
        masks[_UNCOMMON] = _kept(masks) & ~np.isin(s.ids, common)


def _splits(staged: list[Staged], removed: Mapping[str, dict[str, Mask]], corpus: CorpusConfig) -> dict[str, Codes]:
    """Split of each staged document, UNASSIGNED for those removed."""
    kept = {s.language: _kept(removed[s.language]) for s in staged}
    to_split = [s for s in staged if corpus.languages[s.language].test is None]
    assigned = assign({s.language: s.works[kept[s.language]] for s in to_split}, corpus.splits)
    result = {}
    for s in staged:
        codes = np.full(len(s.ids), UNASSIGNED, np.int8)
        codes[kept[s.language]] = assigned.get(s.language, s.splits[kept[s.language]])
        check_splits(s.language, codes[kept[s.language]], len(np.unique(s.works[kept[s.language]])))
        result[s.language] = codes
    return result


def _kept(masks: Mapping[str, Mask]) -> Mask:
    kept: Mask = ~np.logical_or.reduce(list(masks.values()))
    return kept


def _removed(staged: Staged, masks: Mapping[str, Mask]) -> dict[str, Any]:
    """Removed documents by reason, and by split where the source gives the splits: others are drawn after removal."""
    by_split = {
        name: {"filtered": staged.filtered[code], **_dropped(staged.judged.get(code, {}))}
        | {reason: int((mask & (staged.splits == code)).sum()) for reason, mask in masks.items()}
        for code, name in enumerate(SPLITS)
        if code in staged.filtered
    }
    total = {**_dropped(_all(staged)), **{reason: int(mask.sum()) for reason, mask in masks.items()}}
    return {"removed": {"filtered": staged.filtered.total(), **total}, "removed_by_split": by_split}


def _dropped(judged: Mapping[str, Judged]) -> Counts:
    return {name: did.rules.total() for name, did in judged.items()}


def _judged(staged: Staged) -> dict[str, Any]:
    """What corpus.json says of filters, where there are any."""
    told = {name: did.record() for name, did in _all(staged).items()}
    return {"filters": told} if told else {}


def _all(staged: Staged) -> dict[str, Judged]:
    """What each filter did to the documents of all sources."""
    total: dict[str, Judged] = {}
    for by_name in staged.judged.values():
        for name, did in by_name.items():
            total.setdefault(name, Judged()).add(did)
    return total


def _publish(staged: Staged, codes: npt.NDArray[np.int8], out: Path) -> dict[str, Counts]:
    """Second pass: the staged documents to the files of their splits, in their order."""
    return {
        name: _copy(staged, codes == code, split_file(out, name, staged.language)) for code, name in enumerate(SPLITS)
    }


def _copy(staged: Staged, chosen: Mask, path: Path) -> Counts:
    import pyarrow.compute as pc

    counts = {"documents": 0, "characters": 0, "bytes": 0}
    start = 0
    with TableWriter(path) as writer:
        for table in staged.tables():
            part = table.filter(chosen[start : start + table.num_rows])
            start += table.num_rows
            writer.write(part)
            text = part.column("text")
            counts["documents"] += part.num_rows
            counts["characters"] += pc.sum(pc.utf8_length(text)).as_py() or 0
            counts["bytes"] += pc.sum(pc.binary_length(text)).as_py() or 0
    return counts


class _Progress:
    """Adds up what all languages report, so that the step of the log only grows."""

    def __init__(self, log: Log) -> None:
        self._log, self._documents, self._characters = log, 0, 0

    def __call__(self, row: dict[str, Any]) -> None:
        self._documents += row["documents"]
        self._characters += row["characters"]
        self._log({"step": self._documents, "characters": self._characters})
