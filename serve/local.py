"""A run's mixture behind HTTP in this process alone: no Ray, an engine an expert."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from prometheus_client.core import Metric

from serve.api.backend import Grown
from serve.chat import ChatTemplate
from serve.engine import Engine, Stream
from serve.files import unknown_model
from serve.merging import joined, merged
from serve.messages import ALONE, AUTO, SOFT, Completion, Explanation, GenerationRequest, Route, Statistics
from serve.mixture import Mixture

_SHORT = 20_000
"""Characters or tokens of prompts that are read on the event loop: a thread's way there and back costs more."""


class LocalBackend:
    """The :class:`serve.api.Backend` over a mixture in this process.

    Args:
        mixture: engines are loaded by :meth:`load`, or each when it is first asked.
        deadline_s: longest time for an answer, in seconds.

    Raises:
        ArtifactError: a part is missing or damaged. TokenizerError: the chat template is.
    """

    def __init__(self, mixture: Mixture, deadline_s: float = 60.0) -> None:
        self._mixture = mixture
        self.experts: Sequence[str] = tuple(mixture.files.experts)
        self.special: Sequence[str] = mixture.files.special
        self.version, self.context = mixture.files.version, mixture.files.context
        self.chat = ChatTemplate.of(mixture.files.tokenizer)
        self.started, self.deadline_s = int(time.time()), deadline_s

    def load(self) -> None:
        """Load the router and every expert.

        Raises:
            ArtifactError: one is damaged.
        """
        self._mixture.router  # noqa: B018 - loads it
        for expert in self.experts:
            self._mixture.engine(expert)

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        """See :meth:`serve.api.Backend.route`."""
        if model in (AUTO, ALONE, SOFT):
            return await asyncio.to_thread(self._mixture.router.route, prompts, model)
        if model not in self.experts:
            raise unknown_model(model, self._mixture.files.experts)
        return [Route(model)] * len(prompts)

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """See :meth:`serve.api.Backend.explain`."""
        return await asyncio.to_thread(self._mixture.router.explain, texts)

    async def generate(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """See :meth:`serve.api.Backend.generate`."""
        streams = await self._submit(expert, requests, seconds)
        try:
            return list(await asyncio.gather(*(stream.completion() for stream in streams)))
        finally:
            for stream in streams:
                stream.cancel()

    async def stream(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        """See :meth:`serve.api.Backend.stream`."""
        streams = await self._submit(expert, requests, seconds)
        try:
            if len(streams) == 1:  # without a task and a queue of its own
                async for delta in streams[0]:
                    yield [(0, delta)]
                return
            async with aclosing(merged(streams)) as parts:  # type: ignore[type-var]
                async for grown in parts:
                    yield joined(grown)
        finally:
            for stream in streams:
                stream.cancel()

    async def tokenize(self, text: str, special: bool = False, begin: bool = False) -> list[int]:
        """See :meth:`serve.api.Backend.tokenize`."""
        if len(text) < _SHORT:
            return self._mixture.tokenizer.encode(text, special, begin)
        return await asyncio.to_thread(self._mixture.tokenizer.encode, text, special, begin)

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """See :meth:`serve.api.Backend.detokenize`."""
        return [self._mixture.tokenizer.decode(tokens) for tokens in sequences]

    async def ready(self) -> bool:
        """See :meth:`serve.api.Backend.ready`."""
        engines = self._mixture.engines
        return all(name in engines and engines[name].healthy for name in self.experts)

    @property
    def full(self) -> bool:
        """See :class:`serve.api.Backend`: here, engines refuse what is too much."""
        return False

    async def counted_elsewhere(self) -> Sequence[Sequence[Metric]]:
        """See :meth:`serve.api.Backend.counted_elsewhere`: this process is alone."""
        return ()

    async def statistics(self) -> Mapping[str, Sequence[Statistics]]:
        """See :meth:`serve.api.Backend.statistics`."""
        return {name: [engine.statistics] for name, engine in self._mixture.engines.items()}

    async def _submit(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Stream]:
        engine: Engine | None = self._mixture.engines.get(expert)
        cheap = sum(len(request.prompt) for request in requests) < _SHORT and not requests[0].sampling.constraint
        if engine is not None and cheap:
            return engine.submit(requests, seconds)
        return await asyncio.to_thread(lambda: self._mixture.engine(expert).submit(requests, seconds))
