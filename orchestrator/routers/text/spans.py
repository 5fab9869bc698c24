"""Text that changes its language: consecutive sentences and lines of one language as one span."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

import numpy as np

from orchestrator.routers.text.router import TextRouter

NONE = "none"
"""Label of text of no language."""
_QUOTES, _ENDS = '\n`"«»“”„「」『』', "。！？；।॥؟۔"
"""Marks that part sentences wherever they stand: of scripts that use no other."""
_UNIT = re.compile(rf"[^{_QUOTES}{_ENDS}.!?:;]*(?:[{_QUOTES}]+|[{_ENDS}]+\s*|[.!?:;]+(?=\s|$)\s*|[.!?:;]|$)")
_SWITCH = np.log(100.0)
"""Cost of a change of language: the new one has to be a hundred times as probable in all."""
_NONE = np.log(10.0)
"""Cost of a unit of no language: in a text of which a part is known, a few odd characters seldom are."""
_MOST_UNITS = 10_000


@dataclass(frozen=True)
class Span:
    """A part of a text, from `begin` to `end` (characters), in one language or NONE; `text` is that part."""

    begin: int
    end: int
    label: str
    text: str


def spans(router: TextRouter, text: str) -> list[Span]:
    """The most probable sequence of languages over the text's units (Viterbi); whole text, nothing left out.

    Units end at line breaks, quotes, backticks, and the marks that end a sentence. Only the first units of a very long
    text are told apart; the rest belongs to the last span.
    """
    units = _units(text)
    if not units:
        return []
    probabilities, rejected = router.route([text[begin:end] for begin, end in units])
    shares = np.column_stack([probabilities * (1 - rejected[:, None]), rejected])
    blank = [row for row, (begin, end) in enumerate(units) if not any(c.isalnum() for c in text[begin:end])]
    if len(blank) == len(units):
        return [Span(0, len(text), NONE, text)]
    logs = np.log(np.maximum(shares, 1e-6))  # no single unit outweighs all others
    logs[:, -1] -= _NONE
    logs[blank] = 0  # marks alone belong to what is around them
    labels = _viterbi(logs)
    names = (*router.languages, NONE)
    firsts = [row for row in range(len(units)) if row == 0 or labels[row] != labels[row - 1]]
    begins = [units[row][0] for row in firsts]
    ends = [*begins[1:], len(text)]
    return [
        Span(begin, end, names[labels[row]], text[begin:end])
        for row, begin, end in zip(firsts, begins, ends, strict=True)
    ]


def _units(text: str) -> list[tuple[int, int]]:
    found = (match.span() for match in _UNIT.finditer(text) if match.end() > match.start())
    return list(islice(found, _MOST_UNITS))


def _viterbi(logs: np.ndarray) -> list[int]:
    """Labels that maximise the sum of `logs` [units, labels] less the cost of each change."""
    best, came = logs[0], []
    for row in logs[1:]:
        change = best.max() - _SWITCH
        stays = best >= change
        came.append(np.where(stays, np.arange(len(best)), best.argmax()))
        best = np.where(stays, best, change) + row
    labels = [int(best.argmax())]
    for step in reversed(came):
        labels.append(int(step[labels[-1]]))
    return labels[::-1]
