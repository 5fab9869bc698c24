"""What `mome bench serve` measures: one random model behind our engine and transformers, on token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model
from orchestrator.models.zoo._base import quiet
from serve.engine import Engine, EngineOptions
from serve.engine.forward import forward_of
from serve.engine.weights import pack_for
from serve.messages import GenerationRequest, Sampling

FIRST = 3
"""The first id that is no special token."""
Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Shape:
    """A GPT-2 and what it is asked: `prompt` tokens in, `answer` tokens out, greedy."""

    layers: int
    width: int
    heads: int
    vocab: int
    prompt: int = 32
    answer: int = 48

    def model(self) -> Any:
        """With random weights, always the same."""
        spec = PluginSpec(type="gpt2", layers=self.layers, width=self.width, heads=self.heads)
        return build_model(spec, self.vocab, self.prompt + self.answer, 0).eval()

    def prompts(self, batch: int) -> Prompts:
        """Different ones, the first token <s>."""
        draw = torch.Generator().manual_seed(batch)
        ids = torch.randint(FIRST, self.vocab, (batch, self.prompt - 1), generator=draw)
        return [[1, *row] for row in ids.tolist()]


class Ids:
    """A tokenizer for prompts that are ids already; nothing ends an answer early."""

    ends: frozenset[int] = frozenset()

    def __init__(self, vocab: int) -> None:
        self.bytes = [b"a"] * vocab

    def check(self, tokens: Sequence[int], where: str = "") -> None:
        """All are of the vocabulary."""

    def own(self, tokens: Sequence[int], where: str = "") -> list[int]:  # noqa: ARG002
        """They are the model's own."""
        return list(tokens)


class Ours:
    """The engine in a precision, on a thread of its own; beginnings of prompts are not kept from call to call."""

    def __init__(self, model: Any, shape: Shape, precision: str, temperature: float = 0.0) -> None:
        forward, options = forward_of(model, pack_for(precision)), EngineOptions(precision=precision, prefixes=0)
        tokenizer: Any = Ids(shape.vocab)
        self.engine = Engine(forward, tokenizer, options)
        self._sampling = Sampling(max_tokens=shape.answer, temperature=temperature, seed=1)

    def __call__(self, prompts: Prompts) -> list[list[int]]:
        """Answers to a batch."""
        requests = [GenerationRequest(tuple(prompt), self._sampling) for prompt in prompts]
        return [list(done.tokens) for done in self.engine.generate(requests)]


class Transformers:
    """`generate` of transformers."""

    def __init__(self, model: Any, shape: Shape) -> None:
        limits = {"max_new_tokens": shape.answer, "min_new_tokens": shape.answer}
        self._generate: Callable[..., Any] = partial(model.generate, do_sample=False, pad_token_id=2, **limits)

    @torch.inference_mode()
    def __call__(self, prompts: Prompts) -> list[list[int]]:
        """Answers to a batch."""
        ids = torch.tensor(prompts)
        with quiet():
            found = self._generate(ids, attention_mask=torch.ones_like(ids))
        answers: list[list[int]] = found[:, ids.shape[1] :].tolist()
        return answers
