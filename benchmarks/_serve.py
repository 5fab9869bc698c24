"""What `mome bench serve` measures: one random model behind our engine, transformers and CTranslate2, on token ids."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks._rows import notice
from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model
from orchestrator.models.zoo._base import quiet
from serve.engine import Engine, EngineOptions
from serve.engine.forward import forward_of
from serve.engine.weights import pack_for
from serve.messages import GenerationRequest, Sampling

_FIRST = 3
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
        ids = torch.randint(_FIRST, self.vocab, (batch, self.prompt - 1), generator=draw)
        return [[1, *row] for row in ids.tolist()]


class Ids:
    """A tokenizer for prompts that are ids already; nothing ends an answer early."""

    ends: frozenset[int] = frozenset()

    def __init__(self, vocab: int) -> None:
        self.bytes = [b"a"] * vocab

    def check(self, tokens: Sequence[int]) -> None:
        """All are of the vocabulary."""


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


class CTranslate2:
    """The same weights, converted."""

    def __init__(self, folder: Path, shape: Shape, compute: str, threads: int) -> None:
        import ctranslate2

        self._generator = ctranslate2.Generator(
            str(folder), device="cpu", compute_type=compute, inter_threads=1, intra_threads=threads
        )
        self._answer = shape.answer

    def __call__(self, prompts: Prompts) -> list[list[int]]:
        """Answers to a batch."""
        results = self._generator.generate_batch(
            [[_token(i) for i in prompt] for prompt in prompts],
            max_length=self._answer,
            min_length=self._answer,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        return [result.sequences_ids[0] for result in results]


def convert(model: Any, shape: Shape, folder: Path) -> Path | None:
    """The model as CTranslate2 reads it; None, with a word on standard error, where that is not installed.

    Args:
        model: GPT-2 of transformers.
        shape: of the model.
        folder: to write to.
    """
    if importlib.util.find_spec("ctranslate2") is None:
        notice("ctranslate2 is not installed: pip install -c constraints.txt '.[serve-bench]'")
        return None
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(WordLevel({_token(i): i for i in range(shape.vocab)}, unk_token=_token(0)))
    named = {"unk_token": _token(0), "bos_token": _token(1), "eos_token": _token(2)}
    with quiet():
        model.save_pretrained(folder / "model")
        PreTrainedTokenizerFast(tokenizer_object=plain, **named).save_pretrained(folder / "model")
        TransformersConverter(str(folder / "model")).convert(str(folder / "converted"))
    return folder / "converted"


def _token(index: int) -> str:
    return ("<unk>", "<s>", "</s>")[index] if index < _FIRST else f"t{index}"
