"""Long texts to token ids, a window at a time: a tokenizer's own records take hundreds of bytes a token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer

LONG = 4_000_000
"""Characters of a text that is encoded in windows."""
WINDOW = 1_000_000
"""Characters encoded at once."""
OVERLAP = 20_000
"""Characters that a window shares with the next one."""
_ALIKE = 16
"""Tokens on each side of a place that two windows must have alike: where a window ends, its tokens may be others."""


def encode_long(tokenizer: Tokenizer, text: str, window: int = WINDOW, overlap: int = OVERLAP) -> np.ndarray:
    """The ids of the whole text [tokens], int64, as the tokenizer gives them at once.

    Windows overlap. One goes over to the next where both have the same tokens of the same characters. Where they have
    none (one word as long as the overlap), the text is encoded at once after all.

    Args:
        tokenizer: of any kind.
        text: of more than a window.
        window: characters encoded at once.
        overlap: characters that are in two windows.
    """
    parts: list[np.ndarray] = []
    ids, spans = np.empty(0, np.int64), np.empty((0, 2), np.int64)
    for begin, (new_ids, new_spans) in _windows(tokenizer, text, window, overlap):
        if begin == 0:
            ids, spans = new_ids, new_spans
            continue
        met = _meeting(ids, spans, new_ids, new_spans, begin + overlap // 2)
        if met is None:
            return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
        last, first = met
        parts.append(ids[:last])
        ids, spans = new_ids[first:], new_spans[first:]
    return np.concatenate([*parts, ids])


def _windows(
    tokenizer: Tokenizer, text: str, window: int, overlap: int
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Where each window begins, its ids [N], and the characters of the text that each token is of [N, 2]."""
    for begin in range(0, max(len(text) - overlap, 1), window - overlap):
        found = tokenizer.encode(text[begin : begin + window], add_special_tokens=False)
        spans = np.array(found.offsets, np.int64).reshape(-1, 2) + begin
        yield begin, (np.array(found.ids, np.int64), spans)


def _meeting(
    ids: np.ndarray, spans: np.ndarray, new_ids: np.ndarray, new_spans: np.ndarray, near: int
) -> tuple[int, int] | None:
    """Tokens of a window and of the next one between which both agree, at or after a character; None: they do not."""
    for last in range(int(np.searchsorted(spans[:, 0], near)), len(ids) - _ALIKE, _ALIKE):
        first = int(np.searchsorted(new_spans[:, 0], spans[last, 0]))
        ours, theirs = slice(last - _ALIKE, last + _ALIKE), slice(first - _ALIKE, first + _ALIKE)
        if min(last, first) < _ALIKE or len(new_ids) < first + _ALIKE:
            continue
        if (ids[ours] == new_ids[theirs]).all() and (spans[ours] == new_spans[theirs]).all():
            return last, first
    return None
