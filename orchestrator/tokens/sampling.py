"""Text to train a tokenizer on: the same number of characters of every language, from training documents only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.errors import CorpusError
from orchestrator.tokens.storage import damaged

_ROWS = 256  # documents held in memory at once


def balanced_text(files: Mapping[str, Path], max_characters: int, seed: int) -> Iterator[list[str]]:
    """Equal numbers of characters of each language, of documents drawn at random.

    The number is that of the smallest language, at most `max_characters`; the last document drawn of a language is cut
    to hit it exactly. Reads the files twice and holds a few documents at a time.

    Args:
        files: language -> Parquet file with a column `text`.
        max_characters: characters (code points) of each language, at most.
        seed: of the draw.

    Yields:
        Lists of texts, language after language, in the order of the files.

    Raises:
        CorpusError: a language has no text.
        ArtifactError: a file is missing or damaged.
    """
    lengths = {language: _character_lengths(path) for language, path in files.items()}
    for language, path in files.items():
        if not lengths[language].sum():
            raise CorpusError(
                f"there is no training text in {language!r} to train a tokenizer on",
                where=str(path),
                fix=f"give corpus.languages.{language} more documents",
            )
    budget = min(max_characters, *(int(each.sum()) for each in lengths.values()))
    for language, path in files.items():
        rng = np.random.default_rng([seed, *language.encode()])
        yield from _cut(path, _characters_to_keep(lengths[language], budget, rng))


def read_texts(path: Path, row_groups: list[int] | None = None, rows: int = _ROWS) -> Iterator[list[str]]:
    """The column `text` of a Parquet file of the corpus (or of some of its row groups), a few rows at a time.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    for column in _text_columns(path, row_groups, rows):
        yield column.to_pylist()


def _text_columns(path: Path, row_groups: list[int] | None, rows: int) -> Iterator[pa.Array]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows, row_groups=row_groups, columns=["text"]):
                yield batch.column(0)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, "corpus", f"{path.name} can't be read ({type(error).__name__})") from None


def _character_lengths(path: Path) -> np.ndarray:
    columns = [pc.utf8_length(column).to_numpy(zero_copy_only=False) for column in _text_columns(path, None, _ROWS)]
    return np.concatenate([np.empty(0, np.int64), *columns]).astype(np.int64)


def _characters_to_keep(lengths: np.ndarray, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Characters to take of each document so that documents drawn in random order add up to `budget`."""
    order = rng.permutation(len(lengths))
    before = np.cumsum(lengths[order]) - lengths[order]
    keep = np.empty_like(lengths)
    keep[order] = np.clip(budget - before, 0, lengths[order])
    return keep


def _cut(path: Path, keep: np.ndarray) -> Iterator[list[str]]:
    start = 0
    for texts in read_texts(path):
        kept = keep[start : start + len(texts)]
        start += len(texts)
        yield [text[:count] for text, count in zip(texts, kept, strict=True) if count]
