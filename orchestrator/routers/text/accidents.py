"""Accidents of typing: case, missing accents, typos, other marks, numbers and names."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

_QUOTES = ('"', "'", "“", "”", "„", "«", "»", "‘", "’", "- ", "— ", "(", "")
_BETWEEN = (
    *("... ", " ... ", "… ", " … ", " . . . ", " – ", " — ", "—"),
    *(": ", "; ", "! ", " ! ", "? ", " ? ", ", ", " (", ") "),
)
# {0} is a year, {1} and {2} are below 1,000; forms that stand twice are drawn twice as often.
_NUMBERS = (
    "{0}",
    "{0}",
    "{0},",
    "{0}.",
    "{1}",
    "{1}",
    "{1},{2:03}",
    "{1}.{2:03}",
    "{1} %",
    "{1}%",
    "{1},5",
    "({0})",
    "{1}.",
    "1",
)
_KEYS = "abcdefghijklmnopqrstuvwxyz"


def augment(pieces: Sequence[str], rng: np.random.Generator, *, prose: bool, names: Sequence[str] = ()) -> list[str]:
    """The pieces with accidents: case, missing diacritics, typos; in prose also marks, numbers and foreign names.

    Args:
        pieces: of one language.
        rng: of the choices.
        prose: what a corpus happens to have of quotes, line breaks and numbers must not tell prose from code.
        names: capitalised words of other languages: a name does not make a sentence foreign.
    """
    chances = rng.random(len(pieces))
    return [_accident(piece, chance, rng, prose, names) for piece, chance in zip(pieces, chances.tolist(), strict=True)]


def _accident(piece: str, chance: float, rng: np.random.Generator, prose: bool, names: Sequence[str]) -> str:
    # The borders are sums of shares: 10 % lower case, 2 % upper case, 4 % without accents, 4 % with a typo. In prose
    # also 6 % with a capital, 14 % with other marks, 14 % with a number, 6 % with a foreign name; 40 % stay.
    if chance < 0.12:
        return piece.lower() if chance < 0.1 else piece.upper()
    if chance < 0.16:
        return without_diacritics(piece)
    if chance < 0.20:
        return _typo(piece, rng)
    if not prose:
        return piece
    if chance < 0.26:
        return piece[:1].upper() + piece[1:]  # keyboards of phones do
    if chance < 0.40:
        return _other_marks(piece, rng)
    if chance < 0.54:
        return _inserted(piece, _number(rng), rng)
    if chance < 0.60 and names and piece.count(" ") > 1:
        return _inserted(piece, names[int(rng.integers(len(names)))], rng)
    return piece


def _inserted(piece: str, word: str, rng: np.random.Generator) -> str:
    """The piece with a word between two of its words, or in the place of one; unchanged where it has no space."""
    spaces = [at for at, character in enumerate(piece) if character == " "]
    if not spaces:
        return piece
    at = spaces[int(rng.integers(len(spaces)))]
    rest = piece[at:] if rng.random() < 0.5 else piece[at + 1 :].partition(" ")[2] and piece[piece.find(" ", at + 1) :]
    return piece[:at] + " " + word + rest


def _number(rng: np.random.Generator) -> str:
    """A year, an amount or a share, as prose writes them."""
    form = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    return form.format(int(rng.integers(1000, 2030)), int(rng.integers(1, 1000)), int(rng.integers(0, 1000)))


def without_diacritics(text: str) -> str:
    """The text as on a keyboard that has no accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _typo(piece: str, rng: np.random.Generator) -> str:
    """Two letters exchanged, one missing, or one that is another."""
    at, kind = int(rng.integers(len(piece))), int(rng.integers(3))
    if kind == 0:
        return piece[:at] + piece[at + 1 : at + 2] + piece[at : at + 1] + piece[at + 2 :]
    return piece[:at] + ("" if kind == 1 else _KEYS[int(rng.integers(26))]) + piece[at + 1 :]


def _other_marks(piece: str, rng: np.random.Generator) -> str:
    """Quotes around it, and a mark or a line break for a space: what a corpus happens to have tells no language."""
    left, right = (_QUOTES[int(i)] for i in rng.integers(len(_QUOTES), size=2))
    marked = left + piece + right
    if rng.random() < 0.3:
        return marked.replace(" ", _BETWEEN[int(rng.integers(len(_BETWEEN)))], 1)
    return marked.replace(" ", "\n", 1) if rng.random() < 0.5 else marked.replace(". ", ".\n\n")
