"""Text to tokens and back: special tokens in a prompt are text, and answers never end in half a character."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.tokens.kept import vocabulary_of
from orchestrator.tokens.special import special_tokens
from orchestrator.tokens.tokenizer import load_tokenizer, token_bytes
from serve.errors import RequestError


class Tokenizer:
    """A run's tokenizer, or that of an expert with a vocabulary of its own.

    Outside of an expert token ids are the run's: `/tokenize` gives them, and the router reads them. An expert with a
    vocabulary of its own spells them in its own, see :meth:`own` and :meth:`owned`.

    Attributes:
        special: its special tokens by their roles.
        ends: ids of all tokens that end an answer.
        end: id of </s>, or of the token that ends documents; −1 where none does.
        bytes: the bytes that each id stands for; none for special tokens.
    """

    def __init__(self, folder: Path) -> None:
        """Read `tokenizer.json`, and which tokens of the run's an expert has kept.

        Raises:
            TokenizerError: it is missing or damaged. ArtifactError: the list of kept tokens is damaged.
        """
        self._folder, self._kept = folder, vocabulary_of(folder)
        self._fast = load_tokenizer(folder)
        self.special = special_tokens(folder, self._fast)
        self.ends = frozenset(self.special.eos)
        self.end = self.special.eos[0] if self.special.eos else -1
        self.bytes = token_bytes(self._fast)

    def encode(self, text: str, special: bool = False, begin: bool = False) -> list[int]:
        """Ids of the text alone: what routers read. Half a surrogate pair is read as "?".

        Args:
            text: any.
            special: the text of a special token becomes that token; otherwise it is text like any other.
            begin: with the tokens that prompts begin with.
        """
        whole = text.encode("utf-8", "replace").decode()
        ids: list[int] = (self._special if special else self._fast).encode(whole, add_special_tokens=False).ids
        return [*self.special.begin, *ids] if begin else ids

    @cached_property
    def _special(self) -> Any:
        tokenizer = load_tokenizer(self._folder)
        tokenizer.encode_special_tokens = False
        return tokenizer

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids; bytes that are no character become U+FFFD.

        Raises:
            RequestError: one is not of the vocabulary.
        """
        self.check(tokens)
        return b"".join(self.bytes[token] for token in tokens).decode("utf-8", "replace")

    def own(self, tokens: Sequence[int], where: str = "") -> list[int]:
        """A text in the run's tokens as one in these: a token that is not among them by its parts.

        Args:
            tokens: the run's ids.
            where: the parameter that has them.

        Raises:
            RequestError: one is not of the run's vocabulary.
        """
        self.know(tokens, where)
        if self._kept is None:
            return list(tokens)
        own: list[int] = self._kept.spell(np.array(tokens, np.int64))[0].tolist()
        return own

    def owned(self, tokens: Sequence[int]) -> dict[int, int]:
        """By the run's id the own one of each token that may be written here; others never are."""
        if self._kept is None:
            return {token: token for token in tokens}
        kept, places = len(self._kept.kept), self._kept.places
        return {token: int(places[token]) for token in tokens if token < len(places) and places[token] < kept}

    def know(self, tokens: Sequence[int], where: str) -> None:
        """Make sure that ids are of the run's vocabulary.

        Args:
            tokens: the ids.
            where: the parameter that has them.

        Raises:
            RequestError: one is not.
        """
        _check(tokens, len(self.bytes) if self._kept is None else self._kept.size, where)

    def check(self, tokens: Sequence[int], where: str = "") -> None:
        """Make sure that ids are of this vocabulary.

        Args:
            tokens: the ids.
            where: the parameter that has them.

        Raises:
            RequestError: one is not.
        """
        _check(tokens, len(self.bytes), where)

    def name(self, token: int) -> str:
        """How the vocabulary writes an id."""
        return str(self._fast.id_to_token(token))

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text to be continued, as in the blocks of training: after <s>, or what the tokenizer has for it.

        Never empty: a tokenizer without special tokens is asked for a line break where there is no text.
        """
        return [*self.special.begin, *self.encode(text)] or self.encode("\n") or [0]


def _check(tokens: Sequence[int], size: int, where: str) -> None:
    if not all(0 <= token < size for token in tokens):
        raise RequestError(f"token ids that are not of this model's vocabulary: it has 0 to {size - 1}", where)


class Detokenizer:
    """Generated ids to text, one at a time.

    A character whose bytes are not all there yet is held back, so joined pieces are valid text at every moment; bytes
    that can't become a character turn into U+FFFD.
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that this token completes; "" while a character is incomplete."""
        return self._decoder.decode(self._bytes[token])
