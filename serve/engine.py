"""The engine: one expert that continues a batch of prompts with a key-value cache. Plain torch, no Ray.

A batch starts together; a row leaves it when it is done. What continuous batching adds later is rows that join between
two steps (:meth:`_Batch.step` is one), and what streaming adds is a caller that reads each row's `text` between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from serve.combined import CombinedExpert, open_expert
from serve.errors import ContextLengthError, DeadlineError, EmptyPromptError
from serve.messages import Completion, FinishReason, GenerationRequest, Sampling
from serve.sampling import sample
from serve.text import Detokenizer, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SEED_MASK = 2**64 - 1


def _never() -> bool:
    return False


class Engine:
    """A causal language model, or an expert with its common expert, and the tokenizer.

    Attributes:
        context: longest prompt and answer together, in tokens.
    """

    def __init__(self, model: PreTrainedModel | CombinedExpert, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.context = int(model.config.max_position_embeddings)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", common: bool = True) -> Engine:
        """Open a published expert's (or teacher's) `model` folder; with the common expert, where there is one.

        Raises:
            ArtifactError: the model is missing or damaged. TokenizerError: its tokenizer is.
        """
        return cls(open_expert(folder, device, common), Tokenizer(folder))

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] = _never
    ) -> list[Completion]:
        """Continue each prompt; in a batch of any mix a row's tokens are those it would get alone.

        Args:
            requests: prompts with their sampling settings.
            should_stop: asked before every step; True gives the batch up (deadline over, caller gone).

        Raises:
            EmptyPromptError, ContextLengthError: a prompt that can't be continued; nothing is generated then.
            DeadlineError: `should_stop` said so.
        """
        rows = [self._row(request) for request in requests]
        batch = _Batch(self.model, rows, len(self.tokenizer.bytes))
        while batch.rows:
            if should_stop():
                raise DeadlineError("the answer was given up before it was finished", fix="ask for fewer tokens")
            batch.step(self.tokenizer.end)
        return [row.completion() for row in rows]

    def _row(self, request: GenerationRequest) -> _Row:
        if not request.prompt:
            raise EmptyPromptError("the prompt is empty", fix="write at least one character")
        prompt = self.tokenizer.encode_prompt(request.prompt)
        room = self.context - len(prompt)
        wanted = request.sampling.max_tokens
        if room < (1 if wanted is None else wanted):
            raise ContextLengthError(
                f"this model's context is {self.context} tokens, but the prompt has {len(prompt)} "
                f"and {1 if wanted is None else wanted} more were asked for",
                fix="shorten the prompt or max_tokens",
            )
        return _Row(
            prompt=prompt,
            limit=room if wanted is None else wanted,
            sampling=request.sampling,
            random=_generator(request),
            detokenizer=Detokenizer(self.tokenizer.bytes),
        )


def _generator(request: GenerationRequest) -> np.random.Generator:
    seed = request.sampling.seed
    return np.random.default_rng(None if seed is None else [seed & _SEED_MASK, request.stream])


@dataclass
class _Row:
    """One continuation on its way."""

    prompt: list[int]
    limit: int
    sampling: Sampling
    random: np.random.Generator
    detokenizer: Detokenizer
    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason | None = None

    def push(self, token: int, end: int) -> None:
        """Take the next token; sets `finish_reason` when it is the last one."""
        self.tokens += 1
        if token == end:
            self.finish_reason = "stop"
            return
        seen = len(self.text)
        self.text += self.detokenizer.push(token)
        if (cut := _first_stop(self.text, self.sampling.stop, seen)) is not None:
            self.text, self.finish_reason = self.text[:cut], "stop"
        elif self.tokens == self.limit:
            self.finish_reason = "length"

    def completion(self) -> Completion:
        assert self.finish_reason is not None
        return Completion(self.text, len(self.prompt), self.tokens, self.finish_reason)


def _first_stop(text: str, stops: Sequence[str], seen: int) -> int | None:
    """Where the first stop text begins that the characters after `seen` complete."""
    found = [text.find(stop, max(0, seen - len(stop) + 1)) for stop in stops]
    return min((position for position in found if position >= 0), default=None)


@dataclass
class _Batch:
    """Rows that are computed together: left-padded prompts, then one token a row and step.

    B: rows at work, L: longest prompt, V: vocabulary.
    """

    model: Any
    rows: list[_Row]
    vocabulary: int
    cache: Any = None
    tokens: Tensor = field(init=False)
    """Next inputs, [B, L] at first and [B, 1] then."""
    positions: Tensor = field(init=False)
    """Their positions in their rows; padding has position 0 and is masked."""
    mask: Tensor = field(init=False)
    """1 for a token, 0 for padding: [B, L + the longest answer], of which a step sees what it has come to."""

    def __post_init__(self) -> None:
        device = self.model.device
        length = max((len(row.prompt) for row in self.rows), default=0)
        limit = max((row.limit for row in self.rows), default=0)
        padding = [length - len(row.prompt) for row in self.rows]
        tokens = [[0] * pad + row.prompt for pad, row in zip(padding, self.rows, strict=True)]
        self.tokens = torch.tensor(tokens, dtype=torch.int64, device=device)
        self.mask = torch.ones(len(self.rows), length + limit, dtype=torch.int64, device=device)
        for row, pad in enumerate(padding):
            self.mask[row, :pad] = 0
        self.positions = (self.mask[:, :length].cumsum(dim=1) - 1).clamp(min=0)
        self.width = length
        settings = [(row.sampling.temperature, row.sampling.top_p) for row in self.rows]
        self.settings = torch.tensor(settings, dtype=torch.float64, device=device).reshape(-1, 2)

    def step(self, end: int) -> None:
        """Compute one token for every row; rows that are done leave."""
        output = self.model(
            input_ids=self.tokens,
            position_ids=self.positions,
            attention_mask=self.mask[:, : self.width],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = output.past_key_values
        # A padded vocabulary has ids that the tokenizer does not know: they are never chosen.
        chosen = self._choose(output.logits[:, -1, : self.vocabulary])
        for row, token in zip(self.rows, chosen.tolist(), strict=True):
            row.push(token, end)
        self.tokens, self.positions, self.width = chosen[:, None], self.positions[:, -1:] + 1, self.width + 1
        self._leave()

    def _choose(self, logits_BV: Tensor) -> Tensor:
        uniform = [row.random.random() if row.sampling.temperature > 0 else 0.0 for row in self.rows]
        uniform_B = torch.tensor(uniform, dtype=torch.float64, device=logits_BV.device)
        return sample(logits_BV, self.settings[:, 0], self.settings[:, 1], uniform_B)

    def _leave(self) -> None:
        stay = [index for index, row in enumerate(self.rows) if row.finish_reason is None]
        if len(stay) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in stay]
        if not stay:
            return
        index = torch.tensor(stay, device=self.tokens.device)
        self.cache.batch_select_indices(index)
        self.tokens, self.positions, self.mask = self.tokens[index], self.positions[index], self.mask[index]
        self.settings = self.settings[index]
