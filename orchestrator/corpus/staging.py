"""First pass over a language: read, clean, filter and hash its documents, keep them on disk beside compact arrays.

Reading is sequential; the rest runs through the parallel map, a batch of documents at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from orchestrator.config.base import build
from orchestrator.config.recipe import CodeFilter, CorpusConfig, LanguageConfig
from orchestrator.corpus.cleaning import clean_code, clean_name, clean_prose, keeps_code
from orchestrator.corpus.deduplication import (
    PERMUTATIONS,
    U32,
    U64,
    SignatureFile,
    exact_key,
    signature_of,
    unit_hashes,
)
from orchestrator.corpus.document import Document, Source
from orchestrator.corpus.judging import Filters, Judged, filters_of, judged
from orchestrator.corpus.splits import SPLITS, Codes, work_hash
from orchestrator.corpus.storage import TableWriter, batches, read_tables, to_table
from orchestrator.corpus.unreadable import Unreadable
from orchestrator.errors import CorpusError

_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 1000
UNASSIGNED = -1
"""Split code of documents that are still to be split."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedMap(Protocol):
    """Map over picklable items, maybe in other processes; results in the order of the items, few items in flight."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results."""
        ...


Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Preparer:
    """Cleans, filters and hashes a batch of documents: the work that is done in parallel."""

    kind: str
    min_characters: int
    code_filter: CodeFilter
    near: bool
    seed: int
    language: str = ""
    filters: Filters = ()

    def __call__(self, documents: list[Document]) -> _Prepared:
        """The documents kept, cleaned, with their hashes."""
        clean = [d for d in map(self._cleaned, documents) if self._keeps(d.text)]
        kept, told = judged(clean, self.filters, self.language)
        signatures = [signature_of(unit_hashes(d.text)) for d in kept] if self.near else []
        return _Prepared(
            table=to_table(kept),
            characters=sum(len(d.text) for d in kept),
            filtered=len(documents) - len(clean),
            judged=told,
            ids=_u64(xxhash.xxh3_64_intdigest(d.id.encode()) for d in kept),
            works=_u64(work_hash(d, self.seed) for d in kept),
            keys=_u64(exact_key(d.text) for d in kept),
            signatures=np.array(signatures, np.uint32).reshape(len(signatures), PERMUTATIONS),
        )

    def _cleaned(self, document: Document) -> Document:
        clean = clean_code if self.kind == "code" else clean_prose
        return Document(
            id=clean_prose(document.id),
            title=clean_name(document.title),
            text=clean(document.text),
            source=clean_name(document.source),
            licence=clean_name(document.licence),
            work=clean_prose(document.work),
        )

    def _keeps(self, text: str) -> bool:
        if self.kind == "code":
            return keeps_code(text, self.code_filter)
        return len(text) >= max(1, self.min_characters)


@dataclass(frozen=True)
class _Prepared:
    table: Any
    characters: int
    filtered: int
    judged: dict[str, Judged]
    ids: U64
    works: U64
    keys: U64
    signatures: U32

    @property
    def dropped(self) -> int:
        """Documents that are no more."""
        return self.filtered + sum(did.rules.total() for did in self.judged.values())

    def without_bulk(self) -> _Prepared:
        """What stays in memory: 24 bytes a document."""
        return replace(self, table=None, signatures=self.signatures[:0].copy())


@dataclass(frozen=True)
class Staged:
    """A language after the first pass: its documents on disk, and per document [N] what decides their fate.

    Attributes:
        ids: hash of the id.
        works: seeded hash of the work it is part of.
        keys: hash of the text's words.
        splits: index into SPLITS, or UNASSIGNED.
        filtered: number of documents that cleaning and filters dropped, by the `splits` code they would have had;
            unreadable rows are among them.
        judged: what each filter of the recipe did, by the same codes.
        files: "source", "validation" and "test" -> files read and left out, see :class:`Found`.
        unreadable: rows that were no documents: "rows", and where there are any why the "first" was none; "files"
            that were left out, where there are any, and why.
    """

    language: str
    folder: Path
    ids: U64
    works: U64
    keys: U64
    splits: Codes
    filtered: Counter[int]
    judged: dict[int, dict[str, Judged]]
    files: dict[str, dict[str, dict[str, int]]]
    unreadable: dict[str, Any]

    def signatures(self) -> SignatureFile:
        """MinHash signatures [N, PERMUTATIONS]."""
        return SignatureFile(self.folder / "signatures.bin")

    def tables(self) -> Iterator[Any]:
        """The documents, a row group at a time."""
        return read_tables(self.folder / "documents.parquet")


def stage(language: str, corpus: CorpusConfig, seed: int, folder: Path, parallel: OrderedMap, log: Log) -> Staged:
    """Run the first pass over one language, into `folder`.

    Held-out sources are read first, so that "keep the first of equal documents" takes repeats out of training.

    Raises:
        CorpusError: a source is empty, or everything in it was filtered out.
    """
    config, prepare = corpus.languages[language], _preparer(language, corpus, seed)
    parts: list[tuple[int, _Prepared]] = []
    filtered: Counter[int] = Counter()
    did: dict[int, dict[str, Judged]] = {}
    files: dict[str, dict[str, dict[str, int]]] = {}
    unreadable: dict[str, Any] = {"rows": 0}
    folder.mkdir(parents=True, exist_ok=True)
    with TableWriter(folder / "documents.parquet") as writer, (folder / "signatures.bin").open("wb") as signatures:
        for code, source in _sources(config):
            role = "source" if code in (UNASSIGNED, SPLITS.index("train")) else SPLITS[code]
            found = source.found(language)
            if found is not None:
                files[role] = found.counts()
            lost = Unreadable(corpus.unreadable_rows)
            documents = lost.counted(islice(source.documents(language, lost), corpus.max_documents))
            for part in parallel(prepare, batches(documents, _BATCH_CHARACTERS, _BATCH_DOCUMENTS)):
                writer.write(part.table)
                signatures.write(part.signatures.tobytes())
                parts.append((code, part.without_bulk()))
                filtered[code] += part.filtered
                _add(did.setdefault(code, {name: Judged() for name, _ in prepare.filters}), part.judged)
                log({"documents": len(part.ids) + part.dropped, "characters": part.characters})
            filtered[code] += lost.rows
            unreadable = lost.added_to(unreadable)
            _check(f"corpus.languages.{language}.{role}", [part for of, part in parts if of == code])
    return Staged(
        language=language,
        folder=folder,
        ids=np.concatenate([part.ids for _, part in parts]),
        works=np.concatenate([part.works for _, part in parts]),
        keys=np.concatenate([part.keys for _, part in parts]),
        splits=np.concatenate([np.full(len(part.ids), code, np.int8) for code, part in parts]),
        filtered=filtered,
        judged=did,
        files=files,
        unreadable=unreadable,
    )


def _preparer(language: str, corpus: CorpusConfig, seed: int) -> Preparer:
    kind = corpus.languages[language].kind
    return Preparer(
        kind=kind,
        min_characters=corpus.min_characters,
        code_filter=corpus.code_filter,
        near=corpus.deduplication.near is not None,
        seed=seed,
        language=language,
        filters=filters_of(corpus.filters, language, kind),
    )


def _sources(config: LanguageConfig) -> Iterator[tuple[int, Source]]:
    if config.test is None or config.validation is None:
        yield UNASSIGNED, build("corpus.sources", config.source)
        return
    yield SPLITS.index("test"), build("corpus.sources", config.test)
    yield SPLITS.index("validation"), build("corpus.sources", config.validation)
    yield SPLITS.index("train"), build("corpus.sources", config.source)


def _check(where: str, parts: list[_Prepared]) -> None:
    read = sum(len(part.ids) + part.dropped for part in parts)
    if not read:
        raise CorpusError("the source holds no documents", where=where, fix="check its path and options")
    if read == sum(part.dropped for part in parts):
        _check_filters(where, read, parts)
        raise CorpusError(
            f"all {read} documents were filtered out as too short or not fit",
            where=where,
            fix="lower corpus.min_characters, change corpus.code_filter, or check `kind` (prose or code)",
        )


def _check_filters(where: str, read: int, parts: list[_Prepared]) -> None:
    total: dict[str, Judged] = {}
    for part in parts:
        _add(total, part.judged)
    rules = Counter({f"{name}, {rule}": count for name, did in total.items() for rule, count in did.rules.items()})
    if rules:
        told = "; ".join(f"{rule}: {count:,}" for rule, count in rules.most_common(3))
        fix = "change the options of corpus.filters, or check that the source holds that language"
        raise CorpusError(f"none of {read:,} documents passes corpus.filters ({told})", where=where, fix=fix)


def _add(total: dict[str, Judged], more: dict[str, Judged]) -> None:
    for name, did in more.items():
        total.setdefault(name, Judged()).add(did)


def _u64(values: Iterable[int]) -> npt.NDArray[np.uint64]:
    return np.fromiter(values, np.uint64)
