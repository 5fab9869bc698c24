"""Documents to one stream a language: `<s> document </s> <s> document </s> …`, in the order chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.disk import disk_errors
from orchestrator.tokens.balance import DELIMITERS, Selection
from orchestrator.tokens.encoding import EncodedCorpus
from orchestrator.tokens.tokenizer import BOS, EOS

_CHUNK = 1 << 20  # tokens packed at once


@dataclass(frozen=True)
class PackJob:
    """One stream to write: a unit of parallel work."""

    tokens: Path
    split: str
    language: str
    selection: Selection
    path: Path


def pack(job: PackJob) -> dict[str, int]:
    """Write a packed stream and count what is in it. Memory is bounded by a chunk, or by the longest document.

    Returns:
        documents, tokens, characters and bytes. Bytes and characters are those of the text, special tokens left out.

    Raises:
        ArtifactError: the token ids are damaged.
        ResourceError: no disk space.
    """
    corpus = EncodedCorpus(job.tokens)
    lengths = corpus.lengths(job.split, job.language)
    starts = (np.cumsum(lengths) - lengths)[job.selection.rows]
    histogram = np.zeros(corpus.vocab_size, dtype=np.int64)
    with disk_errors(job.path.parent):
        job.path.parent.mkdir(parents=True, exist_ok=True)
        with job.path.open("wb") as file:
            for chunk in packed(corpus.ids(job.split, job.language), starts, job.selection.lengths):
                file.write(chunk.data)
                histogram += np.bincount(chunk, minlength=corpus.vocab_size)
    documents = len(starts)
    text_bytes, characters = (int(each) for each in histogram @ corpus.vocabulary())
    prefix = documents * corpus.prefix_bytes  # ASCII: as many characters as bytes
    counts = {"documents": documents, "tokens": int(histogram.sum())}
    return counts | {"characters": characters - prefix, "bytes": text_bytes - prefix}


def packed(ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, chunk: int = _CHUNK) -> Iterator[np.ndarray]:
    """The stream of the documents `ids[start : start + length]`, each between `<s>` and `</s>`, some at a time.

    Args:
        ids: token ids [tokens].
        starts: where each document begins in `ids`, int64 [documents].
        lengths: tokens of each document, int64 [documents].
        chunk: tokens at once, about; a longer document comes whole.

    Yields:
        Arrays of the type of `ids` [tokens of some documents].
    """
    ends = np.cumsum(lengths + DELIMITERS)
    first = done = 0
    while first < len(ends):
        last = max(int(np.searchsorted(ends, done + chunk, side="right")), first + 1)
        yield _gather(ids, starts[first:last], lengths[first:last])
        first, done = last, int(ends[last - 1])


def _gather(ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """One indexed read for all documents: much faster than a loop where they are short."""
    sizes = lengths + DELIMITERS
    ends = np.cumsum(sizes)
    begins = ends - sizes
    source = np.arange(ends[-1]) + np.repeat(starts - begins - 1, sizes)
    stream: np.ndarray = ids.take(source, mode="clip")  # places of <s> and </s> read a neighbour, or clip at the edges
    stream[begins] = BOS
    stream[ends - 1] = EOS
    return stream
