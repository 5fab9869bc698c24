"""TF-IDF over token ids as words: the features of the paper's router (section 3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.errors import CorpusError


@dataclass(frozen=True)
class SparseRows:
    """Sparse features of `count` sequences, as coordinates sorted by row and then by column.

    Attributes:
        rows, columns: int64 [nnz].
        values: float64 [nnz].
        count: number of rows, empty ones included.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]
    count: int

    def dense(self, width: int) -> NDArray[np.float32]:
        """The first `width` features as float32 [count, width], the precision that scikit-learn's trees compare in."""
        matrix = np.zeros((self.count, width), np.float32)
        used = self.columns < width
        matrix[self.rows[used], self.columns[used]] = self.values[used]
        return matrix

    def empty(self) -> NDArray[np.bool_]:
        """Which rows hold no known feature: bool [count]."""
        return np.asarray(np.bincount(self.rows, minlength=self.count) == 0)


@dataclass(frozen=True)
class Tfidf:
    """Term frequency times smoothed inverse document frequency, each row scaled to length 1.

    Computes what scikit-learn's ``TfidfVectorizer()`` does on the decimal token ids joined by blanks. Its default token
    pattern keeps words of two characters and more, so ids 0 to 9 are no features, as in the paper's released code.

    Attributes:
        tokens: int64 [F], the token id of each feature.
        idf: float64 [F], its inverse document frequency.
    """

    tokens: NDArray[np.int64]
    idf: NDArray[np.float64]

    def transform(self, sequences: Sequence[ArrayLike] | NDArray[np.integer[Any]]) -> SparseRows:
        """Features of token-id sequences of any lengths; ids that are no feature count for nothing."""
        ids = [np.asarray(sequence, dtype=np.int64).ravel() for sequence in sequences]
        lengths = [len(sequence) for sequence in ids]
        columns = self._columns(np.concatenate(ids) if ids else np.empty(0, np.int64))
        rows = np.repeat(np.arange(len(ids)), lengths)
        width = len(self.tokens)
        known = columns < width
        cells, counts = np.unique(rows[known] * width + columns[known], return_counts=True)
        rows, columns = np.divmod(cells, width)
        values = counts * self.idf[columns]
        norms = np.sqrt(np.bincount(rows, values * values, minlength=len(ids)))
        return SparseRows(rows, columns, values / norms[rows], len(ids))

    def _columns(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Feature of each token id; F where there is none."""
        last = len(self._lookup) - 1
        return self._lookup[np.where((ids < 0) | (ids > last), last, ids)]

    @cached_property
    def _lookup(self) -> NDArray[np.int64]:
        """int64 [largest id + 2]: feature by token id; the last entry stands for every larger id."""
        lookup = np.full(int(self.tokens.max()) + 2, len(self.tokens), np.int64)
        lookup[self.tokens] = np.arange(len(self.tokens))
        return lookup


def fit(sequences: Iterable[NDArray[np.int64]]) -> tuple[Tfidf, Any]:
    """Learn the features of token-id sequences with scikit-learn.

    Returns:
        The features, and the training matrix (scipy CSR, float64 [n, F]).

    Raises:
        CorpusError: no token id of two digits or more in any sequence.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer()
    try:
        matrix = vectorizer.fit_transform(" ".join(map(str, sequence.tolist())) for sequence in sequences)
    except ValueError:
        raise CorpusError(
            "the router's training sequences hold no token id of two digits or more, so it has nothing to learn from",
            where="router",
            fix="train on more text, or with a larger tokenizer.vocab_size",
        ) from None
    tokens = vectorizer.get_feature_names_out().astype(np.int64)
    return Tfidf(tokens, np.asarray(vectorizer.idf_, np.float64)), matrix
