"""Which work each document is part of, and which each block is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from orchestrator.tokens.balance import Selection
from orchestrator.tokens.storage import damaged

_ROWS = 4096  # names held in memory at once


def document_works(path: Path) -> np.ndarray:
    """Hash of the work that each document of a Parquet file of the corpus is part of, uint64 [documents].

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = [
                work or name
                for batch in file.iter_batches(_ROWS, columns=["id", "work"])
                for name, work in zip(*(batch.column(key).to_pylist() for key in ("id", "work")), strict=True)
            ]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise damaged(path, "corpus", f"{path.name} can't be read ({type(error).__name__})") from None
    return np.fromiter((xxhash.xxh3_64_intdigest(name.encode()) for name in names), np.uint64, len(names))


def block_works(works: np.ndarray, selection: Selection, context: int, blocks: int) -> np.ndarray:
    """The work in which the middle of each block lies: one that fills more than half of a block is always it.

    Args:
        works: of every document of the corpus, uint64 [documents].
        selection: documents in the order they are packed.
        context: tokens of a block.
        blocks: how many.

    Returns:
        uint64 [blocks].
    """
    ends = np.cumsum(selection.lengths + selection.delimiters)
    middles = np.arange(blocks, dtype=np.int64) * context + context // 2
    found: np.ndarray = works[selection.rows[np.searchsorted(ends, middles, side="right")]]
    return found
