"""Which tokens of two tokenizers begin the same texts: a partition of what may follow that both can tell exactly.

A class belongs to a text that is one token of both, its root. A token that both have is its own root. Any other token
has the root of the first token that the other tokenizer writes for its text: where the student writes " unbeliev" for
the teacher's " unbelievable", both begin texts of the class " unbeliev", or of its root again. Each step is to a
shorter text, and single bytes are tokens of both, so every token has a root, and a class has tokens of both.

What ends a document is a class of its own, and so is what begins one. Special tokens of one name are a class, and all
others together the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from orchestrator.errors import TokenizerError
from orchestrator.tokens.special import SpecialTokens, special_tokens
from orchestrator.tokens.tokenizer import encode, load_tokenizer, prefix_bytes, token_bytes

_REST = "rest"
Key = bytes | tuple[str, ...] | str
"""What a class is of: text, special tokens by role or name, or all others."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """One side's tokenizer.

    Attributes:
        tokenizer: opened.
        special: its special tokens.
    """

    tokenizer: Tokenizer
    special: SpecialTokens

    @classmethod
    def open(cls, folder: Path) -> Vocabulary:
        """That of a tokenizer's folder.

        Raises:
            TokenizerError: it can't be read.
        """
        tokenizer = load_tokenizer(folder)
        return cls(tokenizer, special_tokens(folder, tokenizer))

    @cached_property
    def texts(self) -> list[bytes]:
        """UTF-8 bytes of each token, [V]; none of special ones."""
        return token_bytes(self.tokenizer)

    @cached_property
    def known(self) -> frozenset[bytes]:
        """The texts that are one token."""
        return frozenset(self.texts) - {b""}

    def first(self, texts: Sequence[bytes]) -> list[bytes]:
        """The first token of each text (its longest token, where it is no whole characters); b"": there is none."""
        found = []
        for text, ids in zip(texts, self.spelled(texts), strict=True):
            begin = self.texts[ids[0]] if ids else b""
            found.append(begin if begin and text.startswith(begin) else self._longest(text))
        return found

    def spelled(self, texts: Sequence[bytes]) -> list[tuple[int, ...]]:
        """Each text in tokens, as inside of a longer text: without the space that encoding may put in front of one."""
        spaces = prefix_bytes(self.tokenizer)
        front = "\n" if spaces else ""  # nothing is merged with it, and it has the space before it
        encoded = encode(self.tokenizer, [front + text.decode("utf-8", "replace") for text in texts]) if texts else []
        return [tuple(map(int, self._without(ids, spaces + len(front)))) for ids in encoded]

    def _without(self, ids: np.ndarray, front: int) -> np.ndarray:
        """Tokens less those of so many bytes in front; none where one reaches beyond these."""
        read = np.cumsum([0, *(len(self.texts[token]) for token in ids)])
        place = int(np.searchsorted(read, front))
        return ids[place:] if place < len(read) and read[place] == front else ids[:0]

    def names(self) -> dict[int, str]:
        """Tokens without text, by id."""
        added = self.tokenizer.get_added_tokens_decoder()
        return {
            token: added[token].content if token in added else "" for token, text in enumerate(self.texts) if not text
        }

    def _longest(self, text: bytes) -> bytes:
        return next((text[:size] for size in range(len(text), 0, -1) if text[:size] in self.known), b"")


def boundaries(student: SpecialTokens, teacher: SpecialTokens) -> dict[str, tuple[int, int]]:
    """Special tokens of student and teacher that mean the same in packed blocks: "end", and "begin" after an end."""
    found = {}
    if student.delimiters and teacher.delimiters:
        found["end"] = ((*student.end, *student.begin)[0], (*teacher.end, *teacher.begin)[0])
    if all(side.begin and side.end for side in (student, teacher)):
        found["begin"] = student.begin[0], teacher.begin[0]
    return found


def class_map(student: Vocabulary, teacher: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Class of each token of the student, int64 [V], and of the teacher, int64 [W], in the order of the student's ids.

    Raises:
        TokenizerError: one has no text that the other can begin, or has special tokens and the other has none.
    """
    sides = (student, teacher)
    roots = _roots(student, teacher)
    keys: list[list[Key]] = [[roots.get(text, _REST) if text else _REST for text in side.texts] for side in sides]
    _name_special(keys, sides)
    places: dict[Key, int] = {}
    for key in keys[0]:
        places.setdefault(key, len(places))
    unlike = set(keys[0]) ^ set(keys[1])
    if unlike == {_REST} and "end" in (roles := boundaries(student.special, teacher.special)):
        # One side alone has tokens that no text has: they are with what ends a document.
        keys = [[keys[0][roles["end"][0]] if key == _REST else key for key in side] for side in keys]
    elif unlike:
        what = f"the two tokenizers share no class for {sorted(map(str, unlike))[0]}"
        raise TokenizerError(what, "experts.distillation.alignment", "give the tokenizers bytes and an end token")
    order = {key: place for place, key in enumerate(dict.fromkeys(keys[0]))}
    ours, theirs = (np.array([order[key] for key in side], np.int64) for side in keys)
    return ours, theirs


def _roots(student: Vocabulary, teacher: Vocabulary) -> dict[bytes, bytes]:
    """The root of each text that is a token of either."""
    shared = student.known & teacher.known
    roots = {text: text for text in shared}
    begins: dict[bytes, bytes] = {}
    for side, other in ((student, teacher), (teacher, student)):
        own = sorted(side.known - shared)
        begins.update(zip(own, other.first(own), strict=True))
    for text in sorted(begins, key=len):  # what a token begins with is shorter, so its root is known
        if (begin := begins[text]) in roots:
            roots[text] = roots[begin]
    return roots


def _name_special(keys: list[list[Key]], sides: tuple[Vocabulary, Vocabulary]) -> None:
    """Give special tokens of one role, or of one name, a class."""
    named = [{name: token for token, name in side.names().items() if name} for side in sides]
    pairs = {("name", name): (named[0][name], named[1][name]) for name in named[0].keys() & named[1].keys()}
    roles = boundaries(sides[0].special, sides[1].special)
    pairs |= {("role", role): pair for role, pair in roles.items()}
    taken: tuple[set[int], set[int]] = (set(), set())
    for key, pair in sorted(pairs.items(), reverse=True):  # roles first
        if not any(token in used for token, used in zip(pair, taken, strict=True)):
            for side, token in enumerate(pair):
                keys[side][token] = key
                taken[side].add(token)
