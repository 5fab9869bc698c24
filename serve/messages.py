"""What the parts of serving tell each other: plain values that pickle, free of torch, Ray and HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from serve.errors import RequestError

FinishReason = Literal["stop", "length"]
AUTO = "auto"
"""The model name that lets the router choose."""


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens, one prompt at a time.

    Attributes:
        max_tokens: new tokens at most; None: as many as the context has room for.
        temperature: 0 takes the most probable token; otherwise logits are divided by it.
        top_p: sample from the smallest set of tokens whose probabilities sum to at least this (nucleus sampling,
            arXiv:1904.09751).
        stop: texts at which to stop; they are not part of the answer.
        seed: the same seed gives the same text on the same model, whatever else is in the batch; None: a fresh one.

    Raises:
        RequestError: a value out of range.
    """

    max_tokens: int | None = 16
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        rules = {
            "max_tokens must be at least 1": self.max_tokens is None or self.max_tokens >= 1,
            "temperature must be a number that is not negative": math.isfinite(self.temperature)
            and self.temperature >= 0,
            "top_p must lie between 0 and 1": 0 <= self.top_p <= 1,
            "stop texts must not be empty": all(self.stop),
        }
        for rule, holds in rules.items():
            if not holds:
                raise RequestError(rule)


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt and how to continue it. `stream` tells apart choices that share a prompt and a seed."""

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    stream: int = 0


@dataclass(frozen=True)
class Completion:
    """One continuation.

    Attributes:
        text: without the prompt, the stop text or half a character.
        prompt_tokens: tokens of the prompt, <s> included.
        completion_tokens: tokens generated, an ending </s> included.
        finish_reason: "stop" (</s> or a stop text) or "length".
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


@dataclass(frozen=True)
class Route:
    """Which expert a prompt goes to, with the router's probability of each; None where the caller named the expert."""

    expert: str
    probabilities: Mapping[str, float] | None = None
