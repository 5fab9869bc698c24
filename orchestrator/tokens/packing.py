"""Documents to one stream a language, in the order chosen: `<s> document </s> <s> document </s> …`.

What stands before and after a document says the tokenizer (:class:`orchestrator.tokens.special.SpecialTokens`): with
GPT-2's the stream is `<|endoftext|> document <|endoftext|> document …`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.disk import disk_errors
from orchestrator.tokens.balance import Selection
from orchestrator.tokens.encoding import EncodedCorpus
from orchestrator.tokens.special import OURS

SHARE = "text_share"
"""Key of the counts of tokens and blocks, where it is not 1: see :meth:`EncodedCorpus.text_share`."""
Around = tuple[Sequence[int], Sequence[int]]
_CHUNK = 1 << 20  # tokens packed at once


@dataclass(frozen=True)
class PackJob:
    """One stream to write: a unit of parallel work."""

    tokens: Path
    split: str
    language: str
    selection: Selection
    path: Path


def pack(job: PackJob) -> dict[str, Any]:
    """Write a packed stream and count what is in it. Memory is bounded by a chunk, or by the longest document.

    Returns:
        documents, tokens, characters and bytes. Bytes and characters are those of the text, special tokens left out;
        `text_share` where the tokenizer changes text, see :meth:`EncodedCorpus.text_share`.

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
            ids, around = corpus.ids(job.split, job.language), (corpus.begin, corpus.end)
            for chunk in packed(ids, starts, job.selection.lengths, around=around):
                file.write(chunk.data)
                histogram += np.bincount(chunk, minlength=corpus.vocab_size)
    documents = len(starts)
    text_bytes, characters = (int(each) for each in histogram @ corpus.vocabulary())
    counts: dict[str, Any] = {"documents": documents, "tokens": int(histogram.sum())}
    share = corpus.text_share(job.split, job.language)
    if share != 1:
        return counts | {"characters": round(characters * share), "bytes": round(text_bytes * share), SHARE: share}
    prefix = documents * corpus.prefix_bytes  # ASCII: as many characters as bytes
    return counts | {"characters": characters - prefix, "bytes": text_bytes - prefix}


def packed(
    ids: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    chunk: int = _CHUNK,
    around: Around = (OURS.begin, OURS.end),
) -> Iterator[np.ndarray]:
    """The stream of the documents `ids[start : start + length]`, each between special tokens, some at a time.

    Args:
        ids: token ids [tokens].
        starts: where each document begins in `ids`, int64 [documents].
        lengths: tokens of each document, int64 [documents].
        chunk: tokens at once, about; a longer document comes whole.
        around: ids before and after each document.

    Yields:
        Arrays of the type of `ids` [tokens of some documents].
    """
    ends = np.cumsum(lengths + sum(map(len, around)))
    first = done = 0
    while first < len(ends):
        last = max(int(np.searchsorted(ends, done + chunk, side="right")), first + 1)
        yield _gather(ids, starts[first:last], lengths[first:last], around)
        first, done = last, int(ends[last - 1])


def _gather(ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, around: Around) -> np.ndarray:
    """One indexed read for all documents: much faster than a loop where they are short."""
    begin, end = around
    sizes = lengths + len(begin) + len(end)
    ends = np.cumsum(sizes)
    begins = ends - sizes
    source = np.arange(ends[-1]) + np.repeat(starts - begins - len(begin), sizes)
    # Places of special tokens read a neighbour, or clip at the edges.
    stream: np.ndarray = ids.take(source, mode="clip")
    for place, token in enumerate(begin):
        stream[begins + place] = token
    for place, token in enumerate(reversed(end), 1):
        stream[ends - place] = token
    return stream
