"""Where short pieces of a text may begin, and what counts as a word of it, in any script.

Scripts without spaces between words are cut after a few characters, about as many as their words have. It takes no
segmenter: a piece is to be like what people type, and n-grams ask for no borders of words.
"""

from __future__ import annotations

import re

from orchestrator.scripts import EAST, SOUTH_EAST, UNSPACED, has_unspaced

_LETTER = r"[^\W\d_]"
_UNIT = rf"(?:[{SOUTH_EAST}]{{1,4}}|[{EAST}]{{1,2}}|[^\s{UNSPACED}]+)"
_START = rf"(?:(?<!\S)|(?<=[{UNSPACED}])(?={_LETTER})|(?=[{UNSPACED}])(?={_LETTER}))(?=\S)"
_NEXT = rf"(?:\s+|(?<=[{UNSPACED}])|(?=[{UNSPACED}]))"
_UNITS, _CHARACTER = re.compile(_UNIT), re.compile(rf"(?=[{UNSPACED}]){_LETTER}")


def words_in(text: str) -> list[str]:
    """Words between spaces; of scripts without spaces, runs of a few characters."""
    return _UNITS.findall(text) if has_unspaced(text) else text.split()


def single_words(text: str) -> list[str]:
    """Those of :func:`words_in`, and each letter of a script without spaces: many are words, and are typed alone."""
    if not has_unspaced(text):
        return text.split()
    return _UNITS.findall(text) + _CHARACTER.findall(text)


def of_words(count: int, *, unspaced: bool) -> re.Pattern[str]:
    """So many words from the beginning of one. `unspaced`: the text may be of a script without spaces."""
    if unspaced:
        return re.compile(rf"{_START}{_UNIT}(?:{_NEXT}{_UNIT}){{{count - 1}}}")
    return re.compile(rf"(?<!\S)\S+(?:\s+\S+){{{count - 1}}}")


def of_characters(count: int, *, unspaced: bool) -> re.Pattern[str]:
    """So many characters from the beginning of a word."""
    start = _START if unspaced else r"(?<!\S)"
    return re.compile(rf"(?s){start}\S.{{{count - 1}}}")
