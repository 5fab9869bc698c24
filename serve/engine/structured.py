"""Answers that match a regular expression or a JSON schema, by llguidance: an optional package.

llguidance is given the bytes of every token and the special ids itself. Read from tokenizer.json, it would let the text
of a special token inside a constant become that token.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from serve.errors import RequestError
from serve.messages import Constraint
from serve.text import Tokenizer

_FUEL, _STATES = 100_000, 20_000
"""Of llguidance, about a tenth of its defaults: with those, some expressions take a second of all rows' time."""
_KEPT = 8
"""Constraints whose compiled form is kept: the choices of a request share it, and so do requests of one client."""
_MOST_SAID = 200
"""Characters of llguidance's reason that a client is told: it may quote the constraint."""
_NOTHING = "can be matched by no text"
_LARGE = re.compile(r"too (many|complex|large|big)|precomputation failed")
_REASON = re.compile(r"^error: (.+)", re.MULTILINE)
"""In the several lines that a regular expression's parser writes."""
_PLACE = re.compile(r'at \d+\(\d+\): (invalid regex ".*" \(in regex\): )?')
"""Of the grammar that llguidance makes of the constraint, which its client did not write."""


class Grammars:
    """Compiles constraints for a tokenizer, the last few once. llguidance is loaded with the first one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._made = lru_cache(_KEPT)(self._make)

    def matcher(self, constraint: Constraint) -> Matcher:
        """A constraint at its beginning.

        Raises:
            RequestError: the expression or the schema is not valid, is too large or matches nothing; or llguidance is
                not installed.
        """
        return Matcher(self._made(constraint).deep_copy(), len(self._tokenizer.bytes))

    def _make(self, constraint: Constraint) -> Any:
        tokenizer = self._compiled
        from llguidance import LLMatcher, LLParserLimits

        try:
            grammar = _grammar(constraint)
        except ValueError as error:
            raise RequestError(f"the {constraint.kind} {_why(str(error))}") from None
        limits = LLParserLimits(initial_lexer_fuel=_FUEL, max_lexer_states=_STATES)
        made = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
        first = Matcher(made, len(self._tokenizer.bytes))
        first.begin()
        if first.failure is not None:
            raise RequestError(f"the {constraint.kind} {first.failure}")
        return made

    @cached_property
    def _compiled(self) -> Any:
        try:
            from llguidance import LLTokenizer, TokenizerWrapper
        except ImportError:
            raise RequestError(
                "this server has no structured output", fix="pip install 'mome-orchestrator[structured]'"
            ) from None
        return LLTokenizer(TokenizerWrapper(_Bytes(self._tokenizer)))


class Matcher:
    """Where an answer stands in its constraint.

    Attributes:
        failure: what is wrong with the constraint, as a predicate; None: it can be followed.
    """

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self.failure: str | None = None
        self._bits = np.zeros((1, (vocabulary + 31) // 32), np.int32)

    @property
    def complete(self) -> bool:
        """Whether nothing more may come."""
        return self.failure is None and bool(self._matcher.is_stopped())

    def begin(self) -> None:
        """Compute what may come first: what can't be followed at all is found here, in its caller's time."""
        self._heed()
        if self.failure is None:
            self._fill()

    def mask(self, logits_V: Tensor) -> None:
        """Make tokens impossible that can't come next, in place."""
        self._fill()
        if self.failure is not None:
            return
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: len(logits_V)]
        logits_V.masked_fill_(torch.from_numpy(allowed == 0).to(logits_V.device), float("-inf"))

    def _fill(self) -> None:
        from llguidance.numpy import fill_next_token_bitmask

        try:
            fill_next_token_bitmask(self._matcher, self._bits)
        except Exception as error:  # of this row alone, and the others are computed on
            self.failure = _why(str(error))
        else:
            self._heed()  # where no token may come it raises nothing, and has only stopped

    def push(self, token: int) -> None:
        """The answer has one more token."""
        if not self._matcher.consume_token(token):
            self._heed()
            self.failure = self.failure or f"does not allow the token {token}"

    def _heed(self) -> None:
        if problem := self._matcher.get_error():
            self.failure = _why(problem)


class _Bytes:
    """What llguidance asks of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos_token_id = tokenizer.end
        self.bos_token_id = tokenizer.special.begin[0] if tokenizer.special.begin else None
        self.tokens = [bytes(piece) for piece in tokenizer.bytes]
        self.special_token_ids = [index for index, piece in enumerate(self.tokens) if not piece]
        self._encode = tokenizer.encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))


def _why(told: str) -> str:
    """What is wrong with a constraint, of what llguidance tells: that goes on with its own state and the grammar."""
    if told.startswith("NoExtension"):
        return _NOTHING
    reason = _REASON.search(told.partition("<state>")[0])
    said = reason[1] if reason else _PLACE.sub("", told.partition("\n")[0])
    return "is too large" if _LARGE.search(said) else f"is not valid: {said[:_MOST_SAID]}"


def _grammar(constraint: Constraint) -> str:
    """The constraint in llguidance's own form; white space in JSON is fixed, as weak models write it to the limit."""
    from llguidance import LLMatcher

    if constraint.kind == "regex":
        found: str = LLMatcher.grammar_from_regex(constraint.text)
        return found
    compact = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
    schema: str = LLMatcher.grammar_from_json_schema(constraint.text, defaults=compact)
    return schema
