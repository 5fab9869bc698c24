"""What callers hold of an engine: requests in, streams out."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from serve.engine.forward import Forward, Mixed, forward_of, open_expert
from serve.engine.options import EngineOptions
from serve.engine.row import Row
from serve.engine.scheduler import Scheduler
from serve.engine.stream import Stream
from serve.engine.structured import Grammars
from serve.errors import ContextLengthError, EmptyPromptError, RequestError
from serve.messages import Completion, GenerationRequest, Statistics
from serve.text import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Engine:
    """A model at work on a thread of its own, which starts with the first request.

    Args:
        forward: the model, or a causal language model of transformers.
        tokenizer: of the model.
        options: sizes; None: the defaults.

    Attributes:
        forward: the model. tokenizer: its own.
        context: longest prompt and answer together, in tokens.
    """

    def __init__(
        self, forward: Forward | PreTrainedModel, tokenizer: Tokenizer, options: EngineOptions | None = None
    ) -> None:
        self.forward: Forward = forward if hasattr(forward, "hidden") else forward_of(forward)
        self.tokenizer = tokenizer
        self.context = self.forward.context
        self._grammars = Grammars(tokenizer)
        self._options = options or EngineOptions()
        self._scheduler = Scheduler(self.forward, self._options, len(tokenizer.bytes))
        # Whoever drops an engine ends its thread; so does the end of the process.
        self._finalizer = weakref.finalize(self, self._scheduler.close)

    @classmethod
    def load(
        cls, folder: Path, device: str = "cpu", common: bool = True, options: EngineOptions | None = None
    ) -> Engine:
        """Open a published expert's (or teacher's) `model` folder; with the common expert, where there is one.

        Raises:
            ArtifactError: the model is missing or damaged. TokenizerError: its tokenizer is.
        """
        options = options or EngineOptions()
        return cls(open_expert(folder, device, common, options.precision), Tokenizer(folder), options)

    @classmethod
    def mixed(cls, engines: Mapping[str, Engine], options: EngineOptions | None = None) -> Engine:
        """Experts that answer together: each next token is drawn from the weighted mean of their distributions.

        Args:
            engines: by the experts' names. Their weights are shared, and nothing else.
            options: of the new one.

        Raises:
            RequestError: they don't share a vocabulary.
        """
        tokenizers = [engine.tokenizer for engine in engines.values()]
        if any(each.bytes != tokenizers[0].bytes for each in tokenizers):
            raise RequestError(
                "the experts have vocabularies of their own, so there is no token that all of them could choose",
                "model",
                "ask for auto, or for an expert by its name",
            )
        parts = {name: engine.forward for name, engine in engines.items()}
        return cls(Mixed(parts, len(tokenizers[0].bytes)), tokenizers[0], options)

    @property
    def healthy(self) -> bool:
        """Whether requests will be answered; False once the thread has died or the engine was closed."""
        return self._scheduler.healthy

    @property
    def statistics(self) -> Statistics:
        """What it does and has done."""
        return self._scheduler.statistics()

    def submit(self, requests: Sequence[GenerationRequest], seconds: float | None = None) -> list[Stream]:
        """Have prompts continued, each on a stream of its own; a row's tokens are those it would get alone.

        Args:
            requests: prompts with their sampling settings.
            seconds: from now, after which an answer is given up; None: never.

        Raises:
            EmptyPromptError, ContextLengthError, RequestError: one that can't be continued; none is begun then.
            OverloadedError: too many wait. ExpertUnavailableError: the engine is closed or has failed.
        """
        rows = [self._row(request, seconds) for request in requests]
        if rows:
            self._scheduler.submit(rows)
        return [row.stream for row in rows]

    def generate(self, requests: Sequence[GenerationRequest], seconds: float | None = None) -> list[Completion]:
        """Continue prompts and wait for all answers; for the rest see :meth:`submit`.

        Raises:
            DeadlineError: `seconds` are over.
        """
        streams = self.submit(requests, seconds)
        try:
            return [stream.result() for stream in streams]
        finally:
            for stream in streams:
                stream.cancel()

    def drain(self, seconds: float) -> bool:
        """Refuse new requests and let those at work finish; whether they did within `seconds`."""
        return self._scheduler.drain(seconds)

    def close(self) -> None:
        """End the thread after its step; unfinished answers end with an error."""
        self._finalizer()

    def _row(self, request: GenerationRequest, seconds: float | None) -> Row:
        if not request.prompt:
            raise EmptyPromptError("the prompt is empty", fix="write at least one character")
        prompt, request = self._read(request.prompt), self._in_own_tokens(request)
        room = self.context - len(prompt)
        wanted = request.sampling.max_tokens
        least = max(1, request.sampling.min_tokens) if wanted is None else wanted
        if room < least:
            raise ContextLengthError(
                f"this model's context is {self.context} tokens, but the prompt has {len(prompt)} "
                f"and {least} more were asked for",
                fix="shorten the prompt or max_tokens",
            )
        self.tokenizer.check(request.generated)
        constraint = request.sampling.constraint
        matcher = None if constraint is None else self._grammars.matcher(constraint)
        shares = self.forward.shares(request.weights) if isinstance(self.forward, Mixed) else None
        limit, at_once = room if wanted is None else wanted, self.forward.reads_as_it_decodes
        return Row(request, prompt, limit, self.tokenizer, matcher, seconds, shares, at_once=at_once)

    def _read(self, prompt: str | tuple[int, ...]) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode_prompt(prompt)
        return self.tokenizer.own(prompt, "prompt")

    def _in_own_tokens(self, request: GenerationRequest) -> GenerationRequest:
        """Its sampling in this model's ids; what the model can't write is neither biased nor stops it."""
        how = request.sampling
        if not (how.logit_bias or how.stop_tokens):
            return request
        self.tokenizer.know(tuple(how.logit_bias), "logit_bias")
        bias = {own: how.logit_bias[token] for token, own in self.tokenizer.owned(tuple(how.logit_bias)).items()}
        stops = tuple(self.tokenizer.owned(how.stop_tokens).values())
        return replace(request, sampling=replace(how, logit_bias=bias, stop_tokens=stops))
