"""The common letters of scripts that have thousands, as national standards list them: a corpus lacks some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

_COVERAGE, _SHARE = 0.97, 0.5
"""Share of a corpus's letters beyond ASCII that a standard has, at least; and that these are of all its letters."""
_TEXT = 200_000
"""Characters of a corpus that are looked at."""


class _Standard(NamedTuple):
    """A codec of Python, the bytes that its common letters begin and end with, and a letter that no corpus lacks.

    The Japanese standard has most traditional Chinese characters, so it takes more than having a corpus's letters.
    """

    codec: str
    leads: range
    trails: Sequence[int]
    sign: str = ""


_EUC = range(0xA1, 0xFF)
_STANDARDS = (
    _Standard("gb2312", range(0xB0, 0xD8), _EUC),  # first level: 3,755 simplified Chinese characters
    _Standard("euc_jp", range(0xB0, 0xD0), _EUC, "の"),  # JIS X 0208, first level: 2,965 kanji
    _Standard("big5", range(0xA4, 0xC7), (*range(0x40, 0x7F), *_EUC)),  # first level: 5,401 traditional characters
    _Standard("euc_kr", range(0xB0, 0xC9), _EUC),  # KS X 1001: 2,350 syllables of Hangul
)


def common_letters(texts: Iterable[str]) -> list[str]:
    """Letters of the standard that a corpus is written by, those that it lacks included; none of other scripts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text[:_TEXT])
        if counts.total() > _TEXT:
            break
    letters = {letter: count for letter, count in counts.items() if letter.isalpha()}
    wide = {letter: count for letter, count in letters.items() if not letter.isascii()}
    if not wide or sum(wide.values()) < _SHARE * sum(letters.values()):
        return []
    for standard in _STANDARDS:
        covered = sum(count for letter, count in wide.items() if _has(standard.codec, letter))
        common = _letters(standard)
        signed = not standard.sign or standard.sign in wide
        if signed and covered >= _COVERAGE * sum(wide.values()) and not common.isdisjoint(wide):
            return sorted(common)
    return []


@cache
def _has(codec: str, letter: str) -> bool:
    try:
        letter.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


@cache
def _letters(standard: _Standard) -> frozenset[str]:
    pairs = b"".join(bytes((lead, trail)) for lead in standard.leads for trail in standard.trails)
    return frozenset(letter for letter in pairs.decode(standard.codec, "ignore") if letter.isalpha())
