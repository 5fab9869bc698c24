"""Repeated documents: equal ones by hash, near ones by MinHash (Broder 1997) with banded locality-sensitive hashing.

Signatures are computed a document at a time (in parallel); comparing them is a few sorts over arrays, so the index of a
corpus costs a few bytes a document in memory and 512 on disk. Measured about three times as fast as `datasketch`, whose
index of Python dictionaries would not fit beside a large corpus.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from orchestrator.scripts import UNSPACED, has_unspaced

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PERMUTATIONS = 128
"""Minima in a signature: the estimate of a similarity of 0.8 has a standard deviation of 0.035."""
SHINGLE = 5
"""Units of a shingle: words, or characters of scripts without spaces."""
_RECALL = 0.99  # share of the pairs at the threshold that must become candidates
_BLOCK = 256  # shingles hashed at once: 256 x 128 x 8 bytes stay in a core's cache
_PAIRS = 1 << 12  # pairs compared at once
_ROWS = 1 << 16  # signatures read at once
_ROW_BYTES = PERMUTATIONS * 4

# The hash family is part of the result: fixed, not drawn from the recipe's seed.
_random = np.random.default_rng(1997)
_MULTIPLIERS = _random.integers(0, 2**64, PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
_OFFSETS = _random.integers(0, 2**64, PERMUTATIONS, dtype=np.uint64)
_PLACES = _random.integers(0, 2**64, SHINGLE, dtype=np.uint64) | np.uint64(1)


_UNIT = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")

_SPACE = re.compile(r"\s")
_BOUNDARY = re.compile(rf"[\s{UNSPACED}]")
_PIECE = 1 << 20
"""Characters of a long text whose units are strings at once: a unit takes sixty bytes then, and eight as a hash."""


def comparable_units(text: str) -> list[str]:
    """What shingles are made of: words, and the characters of scripts that don't part words by spaces.

    Case and white space don't count. Characters need no segmenter, and mixed text (a Latin name in Chinese) needs no
    decision: each part of it is taken as its script is.
    """
    folded = text.lower()
    if not has_unspaced(folded):
        return folded.split()
    return _UNIT.findall(folded)


def unit_hashes(text: str) -> U64:
    """Hashes of :func:`comparable_units`, of a long text a piece at a time."""
    pieces = [_hashes(comparable_units(piece)) for piece in _pieces(text, _BOUNDARY)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _hashes(units: Sequence[str]) -> U64:
    return np.fromiter(map(xxhash.xxh3_64_intdigest, map(str.encode, units)), np.uint64, len(units))


def _pieces(text: str, boundary: re.Pattern[str]) -> Iterator[str]:
    """The text in pieces that end after a boundary, of about _PIECE characters; one of a text without any."""
    start = 0
    while len(text) - start > _PIECE and (found := boundary.search(text, start + _PIECE)):
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


def windows(units: Sequence[str], length: int) -> U64:
    """Hashes of all runs of so many units, [N - length + 1]; none of fewer units."""
    hashes = _hashes(units)
    found = np.zeros(max(0, len(hashes) - length + 1), np.uint64)
    for place in range(length if len(found) else 0):
        found = _mixed(found) * _MULTIPLIERS[0] + hashes[place : place + len(found)]
    return found


def exact_key(text: str) -> int:
    """64-bit hash of the text; texts that differ in case and white space alone have equal keys."""
    if len(text) <= _PIECE:
        return int(xxhash.xxh3_64_intdigest(" ".join(text.lower().split()).encode()))
    state, between = xxhash.xxh3_64(), b""
    for piece in _pieces(text, _SPACE):
        if words := piece.lower().split():
            state.update(between + " ".join(words).encode())
            between = b" "
    return int(state.intdigest())


def signature(units: Sequence[str]) -> U32:
    """As :func:`signature_of`, of units."""
    return signature_of(_hashes(units))


def signature_of(hashes: U64) -> U32:
    """MinHash signature [PERMUTATIONS] of the set of shingles of five units (shorter texts: of the one they are).

    The share of equal places in two signatures estimates the Jaccard similarity of the sets.

    Args:
        hashes: of the units, [N].
    """
    least = np.full(PERMUTATIONS, np.iinfo(np.uint64).max, np.uint64)
    for begin in range(0, max(1, len(hashes) - SHINGLE + 1), _PIECE):
        part = hashes[begin : begin + _PIECE + SHINGLE - 1]
        count = max(1, len(part) - SHINGLE + 1)
        shingles = np.zeros(count, np.uint64)
        for place, factor in enumerate(_PLACES[: len(part)]):
            shingles += part[place : place + count] * factor
        shingles = np.unique(_mixed(shingles))
        for start in range(0, len(shingles), _BLOCK):
            block = shingles[start : start + _BLOCK]
            np.minimum(least, (_MULTIPLIERS[:, None] * block + _OFFSETS[:, None]).min(axis=1), out=least)
    return (least >> np.uint64(32)).astype(np.uint32)


def exact_duplicates(keys: U64) -> Mask:
    """True for every document whose key an earlier one has. keys: [N]."""
    repeated = np.ones(len(keys), np.bool_)
    repeated[np.unique(keys, return_index=True)[1]] = False
    return repeated


class Signatures(Protocol):
    """Signatures [N, PERMUTATIONS], an array or a file of them."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: Any) -> U32:
        """As of an array."""


@dataclass(frozen=True)
class SignatureFile:
    """Signatures in a file, which is read and never mapped: a page that is touched would map what lies around it too.

    Of random rows that can be the whole file.
    """

    path: Path

    def __len__(self) -> int:
        return self.path.stat().st_size // _ROW_BYTES

    def __getitem__(self, index: Any) -> U32:
        """Of a range of rows, some columns; or rows by their numbers [M], whole."""
        if isinstance(index, tuple):
            rows, columns = index
            start, end, _ = rows.indices(len(self))
            count, offset = (end - start) * PERMUTATIONS, start * _ROW_BYTES
            read = np.fromfile(self.path, np.uint32, count, offset=offset)
            return np.ascontiguousarray(read.reshape(-1, PERMUTATIONS)[:, columns])
        found = np.empty((len(index), PERMUTATIONS), np.uint32)
        with self.path.open("rb", buffering=0) as file:
            for row, number in zip(found, index.tolist(), strict=True):
                os.preadv(file.fileno(), [row.data], number * _ROW_BYTES)
        return found


def near_duplicates(signatures: Signatures, threshold: float, among: I64 | None = None) -> Mask:
    """True for every document but the first of each cluster of similar ones.

    Args:
        signatures: [N, PERMUTATIONS].
        threshold: least estimated Jaccard similarity of two documents that belong together. Clusters are the connected
            components of such pairs.
        among: indices, ascending, of the documents to compare; None: all.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(signatures)
    members = np.arange(count) if among is None else among
    rows = _rows_per_band(threshold)
    pairs = [
        pair
        for start in range(0, PERMUTATIONS - rows + 1, rows)
        for pair in _similar_pairs(signatures, members, _keys_of_band(signatures, start, start + rows), threshold)
    ]
    if not pairs:
        return np.zeros(count, np.bool_)
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(count, count))
    cluster = connected_components(graph, directed=False)[1]
    return exact_duplicates(cluster.astype(np.uint64))


def _keys_of_band(signatures: Signatures, start: int, end: int) -> U64:
    keys = np.empty(len(signatures), np.uint64)
    for first in range(0, len(keys), _ROWS):
        keys[first : first + _ROWS] = _band_keys(signatures[first : first + _ROWS, start:end])
    return keys


def _similar_pairs(signatures: Signatures, members: I64, keys: U64, threshold: float) -> Iterator[tuple[I64, I64]]:
    """Pairs of members with equal band keys whose signatures agree.

    Each bucket's first document is compared with the others; those unlike it form a bucket of their own, and so on.
    """
    members = members[np.argsort(keys[members], kind="stable")]
    buckets = keys[members]
    while len(members):
        starts = np.flatnonzero(np.concatenate(([True], buckets[1:] != buckets[:-1])))
        leaders = np.repeat(members[starts], np.diff(np.append(starts, len(members))))
        others = leaders != members
        leaders, members, buckets = leaders[others], members[others], buckets[others]
        similar = _agreement(signatures, leaders, members) >= threshold
        if similar.any():
            yield leaders[similar], members[similar]
        members, buckets = members[~similar], buckets[~similar]


def _agreement(signatures: Signatures, first: I64, second: I64) -> npt.NDArray[np.float64]:
    shares = [
        (signatures[first[i : i + _PAIRS]] == signatures[second[i : i + _PAIRS]]).mean(axis=1)
        for i in range(0, len(first), _PAIRS)
    ]
    return np.concatenate(shares) if shares else np.empty(0)


def _band_keys(band: U32) -> U64:
    keys = np.zeros(len(band), np.uint64)
    for column in range(band.shape[1]):
        keys = _mixed(keys * _MULTIPLIERS[0] + band[:, column] + np.uint64(1))
    return keys


def _rows_per_band(threshold: float) -> int:
    """The most rows a band may have while a pair at the threshold shares a band with probability 0.99."""

    def recall(rows: int) -> float:
        return float(1 - (1 - threshold**rows) ** (PERMUTATIONS // rows))

    return max((rows for rows in range(1, PERMUTATIONS + 1) if recall(rows) >= _RECALL), default=1)


def _mixed(values: U64) -> U64:
    """Finalizer of MurmurHash3: spreads every bit over the word, as the affine permutations need it."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return values ^ (values >> np.uint64(33))
