"""What the parts of serving tell each other: plain values, free of torch, Ray and HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from serve.errors import RequestError

FinishReason = Literal["stop", "length"]
AUTO, ALONE, SOFT = "auto", "auto:no-common", "soft"
"""Model names that are no expert's: the router chooses; it chooses, and the common expert has no part in the answer;
every expert has its part, by the router's probability of it."""


@dataclass(frozen=True)
class Constraint:
    """What the answer must match as a whole.

    Attributes:
        kind: what `text` is: a regular expression, or a JSON schema.
        text: the expression, or the schema as JSON.
    """

    kind: Literal["regex", "json_schema"]
    text: str


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens, one prompt at a time.

    Attributes:
        max_tokens: new tokens at most; None: as many as the context has room for. 0, with `echo`: only the prompt.
        temperature: 0 takes the most probable token; otherwise logits are divided by it.
        top_k: sample from so many most probable tokens; None: from all.
        top_p: sample from the smallest set of tokens whose probabilities sum to at least this (nucleus sampling,
            arXiv:1904.09751); after `top_k`, of what that left.
        min_p: leave out tokens less probable than this share of the most probable one's (arXiv:2407.01082).
        frequency_penalty: taken from a token's logit for each time that the answer has it.
        presence_penalty: taken from a token's logit once the answer has it.
        repetition_penalty: divides positive logits of tokens that prompt or answer have, multiplies negative ones
            (arXiv:1909.05858).
        logit_bias: added to logits, by token id.
        stop: texts at which to stop; they are not part of the answer.
        stop_tokens: tokens at which to stop, beside </s>; they have no text in the answer.
        min_tokens: new tokens before anything but `max_tokens` ends the answer.
        ignore_end: </s> does not end the answer.
        seed: the same seed gives the same text on the same model, whatever else is in the batch; None: a fresh one.
        logprobs: give each token's log-probability, beside so many of the most probable ones'; None: don't. They are
            the model's own: before bias, penalties, temperature and constraint.
        echo: the answer begins with the prompt, in log-probabilities too.
        constraint: what the answer must match; None: nothing.

    Raises:
        RequestError: a value out of range.
    """

    max_tokens: int | None = 16
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_k: int | None = None
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    echo: bool = False
    constraint: Constraint | None = None
    stop_tokens: tuple[int, ...] = ()
    min_tokens: int = 0
    ignore_end: bool = False

    def __post_init__(self) -> None:
        penalties = (self.frequency_penalty, self.presence_penalty, *self.logit_bias.values())
        rules = {
            "max_tokens must be at least 1": self.max_tokens is None or self.max_tokens >= (0 if self.echo else 1),
            "min_tokens must lie between 0 and max_tokens": 0
            <= self.min_tokens
            <= (self.max_tokens or self.min_tokens),
            "min_tokens can't be had with a constraint, which says itself where answers end": not (
                self.min_tokens and self.constraint
            ),
            "temperature must be a number that is not negative": math.isfinite(self.temperature)
            and self.temperature >= 0,
            "top_k must be at least 1": self.top_k is None or self.top_k >= 1,
            "top_p must lie between 0 and 1": 0 <= self.top_p <= 1,
            "min_p must lie between 0 and 1": 0 <= self.min_p <= 1,
            "penalties and logit_bias must be finite numbers": all(map(math.isfinite, penalties)),
            "repetition_penalty must be a number above 0": math.isfinite(self.repetition_penalty)
            and self.repetition_penalty > 0,
            "stop texts must not be empty": all(self.stop),
            "logprobs must be at least 0": self.logprobs is None or self.logprobs >= 0,
        }
        for rule, holds in rules.items():
            if not holds:
                raise RequestError(rule)

    @property
    def adjusts(self) -> bool:
        """Whether logits are changed before a token is chosen."""
        penalties = self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1
        return bool(penalties or self.logit_bias or self.constraint or self.min_tokens)


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt and how to continue it.

    Attributes:
        prompt: text; or token ids, which are taken as they are: nothing is put before them.
        sampling: how.
        stream: tells apart choices that share a prompt and a seed.
        generated: tokens that the answer has already, from an engine that was lost: the answer goes on after them as it
            would have there, with deltas and log-probabilities of what is new. Where tokens are sampled,
            `sampling.seed` is the seed that was used there.
        common: False: an expert that was trained beside a common expert computes without it.
        weights: of each expert where experts are mixed, by their names; they need not sum to 1. None: one expert.
    """

    prompt: str | tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    stream: int = 0
    generated: tuple[int, ...] = ()
    common: bool = True
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """A token, its bytes and its log-probability (nats); `top` are the most probable ones in its place.

    `logprob` is None for the first token of a prompt, which nothing predicts.
    """

    token: int
    piece: bytes
    logprob: float | None
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Completion:
    """One continuation.

    Attributes:
        text: without the prompt (unless it is to be echoed), the stop text or half a character.
        prompt_tokens: tokens of the prompt, <s> included.
        completion_tokens: tokens generated, an ending </s> included.
        finish_reason: "stop" (</s>, a stop text, or a constraint that allows nothing more) or "length".
        tokens: those generated.
        logprobs: of each token, those of an echoed prompt first; None: not asked for.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True)
class Delta:
    """What an answer has grown by since it was last read.

    Attributes:
        text: certain characters: none of them becomes part of a stop text, or half a character, later.
        tokens: new tokens, of whose text some may still be held back.
        logprobs: of the tokens, where asked for.
        finish_reason, prompt_tokens: in the last one alone; see :class:`Completion`.
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    prompt_tokens: int = 0

    def __add__(self, later: Delta) -> Delta:
        return Delta(
            self.text + later.text,
            self.tokens + later.tokens,
            self.logprobs + later.logprobs,
            later.finish_reason or self.finish_reason,
            later.prompt_tokens or self.prompt_tokens,
        )


@dataclass(frozen=True)
class Statistics:
    """An engine at a moment, and what it has done since its start.

    Attributes:
        slots, active, waiting: rows that it can compute, that it computes, that wait.
        steps: steps computed.
        prompt_tokens, cached_tokens: tokens of prompts computed, and taken from the prefix cache instead.
        generated_tokens: tokens chosen.
        finished, cancelled, expired: requests that ended, that their caller gave up, that ran out of time.
    """

    slots: int
    active: int
    waiting: int
    steps: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    finished: int
    cancelled: int
    expired: int


RouteReason = Literal["named", "routed", "rejected", "mixed"]


@dataclass(frozen=True)
class Route:
    """Which expert a prompt goes to, and why.

    Attributes:
        expert: its name.
        probabilities: the router's of each language; None where the caller named the expert.
        reason: "named" by the caller; "routed" by the router; "rejected": the text is of no language, and the recipe's
            policy sends such texts to this expert. "mixed": all experts answer together.
        version: of the mixture that answers; "": the one that is current.
        common, weights: what the request to the expert says; see :class:`GenerationRequest`.
    """

    expert: str
    probabilities: Mapping[str, float] | None = None
    reason: RouteReason = "named"
    version: str = ""
    common: bool = True
    weights: Mapping[str, float] | None = None

    def asked(self, request: GenerationRequest) -> GenerationRequest:
        """The request as the expert is to answer it."""
        if self.common and self.weights is None:
            return request
        return replace(request, common=self.common, weights=self.weights)

    @property
    def probability(self) -> float | None:
        """The router's, of this expert; None where it was not asked, or knows no such language."""
        return None if self.probabilities is None else self.probabilities.get(self.expert)


@dataclass(frozen=True)
class Explanation:
    """What the router says of a text.

    Attributes:
        expert: who would answer; None: it would be refused.
        label: the most probable language, or "none".
        rejected: whether the text counts as of no language.
        probabilities: of each language, and of "none" where the router can tell.
        spans: begin, end (characters) and label of its parts; () where the router does not read text.
        reasons: features that speak most for the most probable language, with their weights.
    """

    expert: str | None
    label: str
    rejected: bool
    probabilities: Mapping[str, float]
    spans: tuple[tuple[int, int, str], ...] = ()
    reasons: tuple[tuple[str, float], ...] = ()
